"""The pipeline from Python: each call does what the command line does and returns a `Run`.

python examples/pipeline.py
"""

import mmreflect

data = mmreflect.build("configs/build/grid.yaml", "splits={train: 320, test: 32}", "output=outputs/example/data")
cold = mmreflect.train(
    "configs/demo/sft.yaml",
    f"data.path={data.path}",
    "evaluation=",
    "trainer.max_steps=40",
    "output=outputs/example/sft",
)
found = mmreflect.evaluate(
    "configs/demo/eval.yaml", f"model={cold.path}/model", f"data.path={data.path}", "output=outputs/example/eval"
)
assert found.result is not None
print(found.result["ledger"]["final_accuracy"])
