"""What becomes of the miniature releases of picture datasets."""

from picture_releases import (
    ai2d,
    chartqa,
    chartqa_hub,
    dvqa,
    geometry3k,
    geometry3k_hub,
    geoqa,
    geoqa_r1v,
    llava_cot,
    mathv360k,
    mulberry,
    r1_onevision,
    scienceqa,
    scienceqa_hub,
    virl39k,
    visual_cot,
    visual_cot_363k,
)

LAYOUTS = [virl39k, geometry3k, geometry3k_hub, geoqa, geoqa_r1v, chartqa, chartqa_hub, dvqa, ai2d, scienceqa, scienceqa_hub, mathv360k, mulberry, llava_cot, visual_cot, visual_cot_363k, r1_onevision]  # fmt: skip
OPENED = {
    "dvqa": {"DVQA: a box does not lie in its picture": 1},
    "visual_cot": {"Visual-CoT: a picture is not as large as its annotation says": 1},
}
"""What is found out when pictures are opened."""

EXPECTED: dict[str, tuple[dict[str, str], dict[str, int], list[str]]] = {
    "virl39k": (
        {"virl39k-P-1": "\\frac{1}{2}", "virl39k-P-2": "B", "virl39k-P-3": "3", "virl39k-P-4": "4"},
        {"the boxed answer cannot be read": 1, "no 'answer'": 1, "no question in the text": 1, "the text has another number of places for pictures than there are": 2, "its id stands before": 1},
        ["4 of 4 questions. dropped 6"],
    ),
    "geometry3k": (
        {"geometry3k-2": "D", "geometry3k-10": "A"},
        {"the answer is none of the options": 1, "no 'answer'": 1, "the right option stands twice": 1, "no 'problem_text'": 1},
        ["2 of 2 questions"],
    ),
    "geometry3k_hub": (
        {"geometry3k-hub-train-00000-of-00001-0": "2 \\sqrt { 3 }", "geometry3k-hub-train-00000-of-00001-1": "11"},
        {"no picture": 1, "no 'answer'": 1, "'images' holds something else than a picture": 1},
        ["2 of 2 questions"],
    ),
    "geoqa": (
        {"geoqa-0": "B", "geoqa-1": "A"},
        {"the answer is none of the options": 1, "no number 'label'": 1, "no list 'choices'": 1},
        ["2 of 2 questions", "not asked for 1: of the test split (1)"],
    ),
    "geoqa_r1v": (
        {"geoqa-r1v-train-00000-of-00001-0": "145°"},
        {"no answer in 'solution'": 1, "no picture": 1, "no 'problem'": 1},
        ["1 of 1 questions"],
    ),
    "chartqa": (
        {"chartqa-train_human-0": "14", "chartqa-train_human-1": "[2007, 2008]", "chartqa-train_human-2": "Favorable", "chartqa-train_human-3": '["Yes", "No"]'},
        {"no 'label'": 1, "no 'imgname'": 1},
        ["4 of 4 questions"],
    ),
    "chartqa_hub": (
        {"chartqa-train-00000-of-00001-0": "14", "chartqa-train-00000-of-00001-1": "Births"},
        {"no 'label'": 1},
        ["2 of 2 questions"],
    ),
    "dvqa": (
        {"dvqa-train-1": "two", "dvqa-train-2": "pair", "dvqa-train-3": "cat"},
        {"a box has no area": 1, "no list of four numbers in 'answer_bbox'": 1, "no 'answer'": 1},
        ["4 of 4 questions"],
    ),
    "ai2d": (
        {"ai2d-0.png-0": "B", "ai2d-0.png-1": "A"},
        {"the answer is none of the options": 1, "no number 'correctAnswer'": 1},
        ["2 of 2 questions", "not asked for 1: of the test split (1)"],
    ),
    "scienceqa": (
        {"scienceqa-1": "A", "scienceqa-4": "B"},
        {"the answer is none of the options": 1, "fewer than 2 or more than 26 options": 1, "no 'question'": 1},
        ["not asked for 2", "a question without a picture (1)", "split 'test' (1)"],
    ),
    "scienceqa_hub": (
        {"scienceqa-train-00000-of-00001-0": "A"},
        {"no number 'answer'": 1},
        ["not asked for 1: a question without a picture (1)"],
    ),
    "mathv360k": (
        {"mathv360k-0": "B", "mathv360k-1": "12", "mathv360k-2": "1.25", "mathv360k-3": "yes"},
        {"the answer is none of the options": 1, "no conversation": 1, "no answer in the turn": 1, "no picture": 1, "the turns are not human, gpt": 1},
        ["4 of 4 questions"],
    ),
    "mulberry": (
        {"mulberry-0": "3", "mulberry-1": "B", "mulberry-2": "the cat"},
        {"the solution states no final answer": 2, "no picture": 1},
        ["3 of 3 questions"],
    ),
    "llava_cot": (
        {"llava-cot-0": "4", "llava-cot-1": "B", "llava-cot-2": "A long sentence about it."},
        {"the solution has not its four stages": 1, "the conclusion is empty": 1, "the answer is none of the options": 1, "no conversation": 1},
        ["not asked for 1: a later round of a conversation (1)"],
    ),
    "visual_cot": (
        {"visual-cot-mixed_cot_train-0": "a cup", "visual-cot-mixed_cot_train-1": "a cup", "visual-cot-mixed_cot_train-2": "a cup"},
        {"a box has no area": 1, "no box": 1, "a box does not lie in its picture": 1, "no 'answer'": 1},
        ["4 of 4 questions", "not asked for 1: split 'val' (1)"],
    ),
    "visual_cot_363k": (
        {"visual-cot-viscot_363k-0": "window"},
        {"not the two rounds of a box and an answer": 1, "no list of four numbers in 'image'": 1},
        ["1 of 1 questions"],
    ),
    "r1_onevision": (
        {"r1-onevision-geo170k-a_1": "3", "r1-onevision-geo170k-a_2": "B"},
        {"the solution states no final answer": 1, "no picture": 1, "'image' holds something else than a picture": 1},
        ["2 of 2 questions"],
    ),
}  # fmt: skip
"""What becomes of each: answers by id, drops by reason, and words of the plan."""
