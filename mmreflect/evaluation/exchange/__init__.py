"""Results in the layouts of other tools: lmms-eval and VLMEvalKit."""

from mmreflect.evaluation.exchange.exporting import export_result

__all__ = ["export_result"]
