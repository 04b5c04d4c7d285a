"""The database's tables on API keys: keys and secrets, limits, usage, events."""

from accounts.models.allowance import AddressAllowance as AddressAllowance
from accounts.models.allowance import KeyAllowance as KeyAllowance
from accounts.models.allowance import Reservation as Reservation
from accounts.models.endpoint import UNKNOWN_ENDPOINT as UNKNOWN_ENDPOINT
from accounts.models.event import EventKind as EventKind
from accounts.models.event import ImmutableError as ImmutableError
from accounts.models.event import KeyEvent as KeyEvent
from accounts.models.key import APIKey as APIKey
from accounts.models.key import APIKeyQuerySet as APIKeyQuerySet
from accounts.models.key import APIKeySecret as APIKeySecret
from accounts.models.key import KeyState as KeyState
from accounts.models.key import Prompts as Prompts
from accounts.models.key import Scope as Scope
from accounts.models.usage import DailyUsage as DailyUsage
from accounts.models.usage import Outcome as Outcome
from accounts.models.usage import Tallied as Tallied
