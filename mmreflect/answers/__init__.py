"""Finding answers in texts and grading them; one grader for training and evaluation."""
