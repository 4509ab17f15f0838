"""GeoQA in the form of R1-V: the parquet files of leonardPKU/GEOQA_R1V_Train_8K, or of leonardPKU/GEOQA_8K_R1V.

Columns of the first: image, problem, solution ("<answer> 145° </answer>"); of the second: images, problem, answer. By
loaders of others, which check the columns of the first; the files themselves could not be seen.
"""

from mmreflect.config import config
from mmreflect.layouts import Release
from mmreflect.layouts._pictures import parquet_files
from mmreflect.layouts._problems import problems

NAME = "GEOQA_R1V"


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: parquet files: one, a folder, or a pattern such as data/train-*.parquet.
    """

    annotations: str


def create(options: Config) -> Release:
    """Create the release."""
    return Release(parquet_files(options.annotations), lambda: problems(options.annotations, NAME, "geoqa-r1v"))
