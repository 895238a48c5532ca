"""Errors of the trainer: the user's mistakes are `UserError`s, everything else is a defect and keeps its trace."""

from preprocessing.errors import USER_ERROR_EXIT_STATUS, UserError, nearest, one_line, reason

__all__ = ["USER_ERROR_EXIT_STATUS", "UserError", "nearest", "one_line", "reason"]
