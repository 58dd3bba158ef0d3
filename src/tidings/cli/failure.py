"""What a verb raises when it cannot do its work and knows why."""


class Failure(Exception):
    """Printed by `main` as `error: …` and `hint: …`; the process ends with `exit_code`."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 1) -> None:
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        super().__init__(message)
