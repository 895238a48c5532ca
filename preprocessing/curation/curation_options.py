"""What a curation is asked to do."""

import dataclasses

from preprocessing.curation.drops import DropRules
from preprocessing.curation.duplicate_groups import SimilarityThresholds
from preprocessing.curation.thresholds import DatasetThresholds, QualityThresholds


@dataclasses.dataclass(frozen=True)
class CurationOptions:
    """All thresholds, each checked by its own class, and what is dropped."""

    similarity: SimilarityThresholds = dataclasses.field(default_factory=SimilarityThresholds)
    quality: QualityThresholds = dataclasses.field(default_factory=QualityThresholds)
    dataset: DatasetThresholds = dataclasses.field(default_factory=DatasetThresholds)
    drop: DropRules = dataclasses.field(default_factory=DropRules)
