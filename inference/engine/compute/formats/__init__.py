"""The weight formats, one file each. A format is added by a file and an entry in `FORMATS`."""

from inference.engine.compute.formats.bfloat16 import BFLOAT16
from inference.engine.compute.formats.float32 import FLOAT32
from inference.engine.compute.formats.int4 import INT4
from inference.engine.compute.formats.int8 import INT8
from inference.engine.compute.formats.own import OWN
from inference.engine.compute.formats.weight_format import WeightFormat
from inference.engine.config import WeightDtype

FORMATS: dict[WeightDtype, WeightFormat] = {
    "auto": OWN,
    "float32": FLOAT32,
    "bfloat16": BFLOAT16,
    "int8": INT8,
    "int4": INT4,
}
"""All weight formats, by the value of LLM_DTYPE that selects them."""
