"""Why a record is refused: a code that the sender sees, who is to blame for it, and the error that carries it."""

from enum import StrEnum

from zenso.errors import InputError


class Blame(StrEnum):
    """Whose reputation a refusal costs."""

    NOBODY = "nobody"
    SENDER = "sender"  # the peer that handed it over: an honest one checks before it forwards
    CREATOR = "creator"  # the key that signed it


class Reason(StrEnum):
    """Outcome of offering a record. Only ``ACCEPTED`` is no refusal."""

    ACCEPTED = "accepted"
    # Not a record at all; whoever sends it did not check it.
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    NOT_CANONICAL = "not_canonical"
    WRONG_VERSION = "wrong_version"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    BAD_FIELD = "bad_field"
    BAD_UTF8 = "bad_utf8"
    TEXT_TOO_LONG = "text_too_long"
    CODE_LENGTH = "code_length"
    BAD_SIGNATURE = "bad_signature"
    CLOCK_AHEAD = "clock_ahead"
    NO_WORK = "no_work"
    # A record, but not one for here and now.
    TOO_OLD = "too_old"
    OTHER_DOMAIN = "other_domain"
    OTHER_MODEL = "other_model"
    KNOWN = "known"
    OVERLOADED = "overloaded"
    FULL = "full"
    DUPLICATE = "duplicate"
    LOW_WORK = "low_work"
    CUT_OFF = "cut_off"
    SENDER_RATE = "sender_rate"
    # What its creator answers for.
    RATE = "rate"
    REPLAYED_NONCE = "replayed_nonce"
    NOT_CREATOR = "not_creator"
    WRONG_CODE = "wrong_code"
    FALSE_DISPUTE = "false_dispute"

    @property
    def blame(self) -> Blame:
        """Whose reputation it costs."""
        return _BLAME.get(self, Blame.NOBODY)

    @property
    def weight(self) -> float:
        """How heavy a bad outcome it is: 1 for what can only be on purpose, less where haste explains it too."""
        return _WEIGHT.get(self, 1.0)


_BLAME = {
    Reason.TOO_LARGE: Blame.SENDER,
    Reason.MALFORMED: Blame.SENDER,
    Reason.NOT_CANONICAL: Blame.SENDER,
    Reason.WRONG_VERSION: Blame.SENDER,
    Reason.UNKNOWN_FIELD: Blame.SENDER,
    Reason.MISSING_FIELD: Blame.SENDER,
    Reason.BAD_FIELD: Blame.SENDER,
    Reason.BAD_UTF8: Blame.SENDER,
    Reason.TEXT_TOO_LONG: Blame.SENDER,
    Reason.CODE_LENGTH: Blame.SENDER,
    Reason.BAD_SIGNATURE: Blame.SENDER,
    Reason.CLOCK_AHEAD: Blame.SENDER,
    Reason.NO_WORK: Blame.SENDER,
    Reason.SENDER_RATE: Blame.SENDER,
    Reason.RATE: Blame.CREATOR,
    Reason.REPLAYED_NONCE: Blame.CREATOR,
    Reason.NOT_CREATOR: Blame.CREATOR,
    Reason.WRONG_CODE: Blame.CREATOR,
    Reason.FALSE_DISPUTE: Blame.CREATOR,
}
_WEIGHT = {
    Reason.SENDER_RATE: 0.1,
    Reason.RATE: 0.1,
    Reason.CLOCK_AHEAD: 0.5,
    Reason.WRONG_VERSION: 0.1,
    Reason.WRONG_CODE: 5.0,
    Reason.FALSE_DISPUTE: 2.0,
}


class RecordError(InputError):
    """Bytes or values that are no record; ``reason`` is the code for it."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
