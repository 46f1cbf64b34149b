"""Image sets for training: found on disk or fetched with check-sums, and handed out as normalised batches.

```python
data = load_data("mnist5k", val_size=400)                   # real digits, no network needed
train_loader = make_loader(data.train, 128, shuffle=True, seed=0)
test_loader = make_loader(data.test, 500)
```
"""

from __future__ import annotations

from hrat.training.data.arrays import ArrayDataset
from hrat.training.data.augment import AUGMENTATIONS, crop_flip, flip
from hrat.training.data.idx import read_idx
from hrat.training.data.loaders import make_loader
from hrat.training.data.sets import DATASET_NAMES, DataSplits, folder_data, load_data

__all__ = [
    "AUGMENTATIONS",
    "DATASET_NAMES",
    "ArrayDataset",
    "DataSplits",
    "crop_flip",
    "flip",
    "folder_data",
    "load_data",
    "make_loader",
    "read_idx",
]
