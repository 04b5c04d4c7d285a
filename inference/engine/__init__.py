"""The text-generation engine: torch and transformers, no Django."""

from inference.engine.engine import Engine as Engine
from inference.engine.errors import Unavailable as Unavailable
from inference.engine.request import GenerationRequest as GenerationRequest
from inference.engine.request import SamplingParams as SamplingParams
