"""The one exception for everything the user can mend."""


class UserError(Exception):
    """Bad input, a bad flag or a bad config value.

    The message is one line that names the file or the field and says what to do. ``main`` prints it
    without a traceback and exits with code 2; every other exception is a bug of ours.
    """
