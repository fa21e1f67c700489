"""The errors attent raises. Each names the thing, the rule it broke, the value it had, and the way out."""


class AttentError(Exception):
    """Base of every error that attent raises on purpose.

    Example:
        >>> import attent
        >>> try:
        ...     attent.Plan(epochs=3, batch_size=8, ratio=0)
        ... except attent.AttentError as error:
        ...     print(error)
        ratio must be in (0, 1], got 0

    ``field``: the name of what is at fault, or the names, where that is known; ``rule``: the rest of the message. Its
    text is both, the field first, so whoever calls the field by another name needs no text but ``rule``.
    """

    def __init__(self, rule: str = "", *, field: str | tuple[str, ...] | None = None) -> None:
        self.rule, self.field = rule, field
        names = (field,) if isinstance(field, str) else field or ()
        super().__init__(f"{' + '.join(names)} {rule}" if names else rule)


class PlanError(AttentError, ValueError):
    """A plan, a schedule or a selection was given an impossible value."""


class ScoreError(AttentError, ValueError):
    """Scores or losses that cannot be ranked: not finite, of a wrong shape or of a wrong dtype."""


class LearnerError(AttentError):
    """A learner broke the contract of `attent.Learner`."""


class CourseError(AttentError):
    """A course was driven out of order, or given a state that is not its own."""


class TraceError(AttentError):
    """A run folder or trace cannot be read, written or continued."""


class WorkersError(AttentError):
    """Processes that train together disagree, or one of them has stopped, is gone or does not answer."""


class PluginError(AttentError):
    """A plugin is missing, broken, misspelt or there twice."""


class MissingPluginError(PluginError):
    """No plugin of this name is installed."""


class RecipeError(AttentError):
    """A recipe cannot be found, imported or built."""


class CostWarning(UserWarning):
    """A plan costs more than training on all examples."""


class TraceWarning(UserWarning):
    """A run folder is damaged, and the run goes on from an earlier checkpoint."""
