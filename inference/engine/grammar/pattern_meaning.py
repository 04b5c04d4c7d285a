"""Where the libraries that enforce and check a pattern read it differently."""

_SET_OPERATIONS = frozenset({"&&", "--", "~~", "||"})
_REPEATS = frozenset("*+?}")


def why_ambiguous(pattern: str) -> str | None:
    """Why a regular expression means different things to different libraries; None if it does not.

    The grammar follows it as Rust's library reads it. The check of finished texts, and a client that checks
    them again, read it as Python's or ECMAScript's does.
    """
    in_class, index = False, 0
    while index < len(pattern):
        char, pair = pattern[index], pattern[index : index + 2]
        if char == "\\":
            index += 1
        elif in_class:
            if pair in _SET_OPERATIONS:
                return f"{pair} within a class of characters is ambiguous: escape it"
            if char == "[":
                return "[ within a class of characters is ambiguous: escape it"
            in_class = char != "]"
        elif char == "[":
            in_class = True
            # A bracket directly after the opening one does not close the class.
            index += 1 if pattern[index + 1 : index + 2] == "^" else 0
            index += 1 if pattern[index + 1 : index + 2] == "]" else 0
        elif char in _REPEATS and pair[1:] == "+":
            return f"{pair} is ambiguous: possessive quantifiers are not supported"
        index += 1
    return None
