import pytest
from google.api_core import exceptions as api_errors
from google.auth import exceptions as auth_errors

from trainer.errors import UserError
from trainer.submit.calls import call


class Service:
    """Fails with the given errors, then answers; counts."""

    def __init__(self, *errors: Exception):
        self.errors = list(errors)
        self.num_tries = 0

    def __call__(self) -> str:
        self.num_tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


BUSY = api_errors.ResourceExhausted("busy")
BROKEN = api_errors.ServiceUnavailable("reset")


@pytest.mark.parametrize("errors", [(), (BUSY,), (BROKEN, ConnectionResetError(), BUSY)])
def test_up_to_four_tries(errors):
    service = Service(*errors)
    assert call("ask", service) == "answer"
    assert service.num_tries == len(errors) + 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (api_errors.PermissionDenied("no"), "ask: no; grant the missing role (docs/cloud.md"),
        (api_errors.NotFound("gone"), "ask: gone; check --project, the region and the name"),
        (api_errors.InvalidArgument("bad"), "ask: bad"),
        (
            auth_errors.DefaultCredentialsError(),
            "ask: found no credentials; run: gcloud auth application-default login",
        ),
    ],
)
def test_what_will_not_get_better_is_not_tried_again(error, message):
    service = Service(error)
    with pytest.raises(UserError) as refusal:
        call("ask", service)
    assert str(refusal.value).startswith(message)
    assert service.num_tries == 1


def test_after_the_fourth_try_it_gives_up():
    service = Service(*[BUSY] * 9)
    with pytest.raises(UserError, match="ask: 4 tries failed: busy; wait, or ask for more quota"):
        call("ask", service)
    assert service.num_tries == 4


def test_only_a_lost_answer_is_looked_up():
    looks = Service()
    assert call("ask", Service(BUSY), already_done=looks) == "answer"
    assert looks.num_tries == 0
    service = Service(BROKEN)
    assert call("ask", service, already_done=looks) == "answer"
    assert (looks.num_tries, service.num_tries) == (1, 1)


def test_what_was_not_done_is_asked_for_again():
    service = Service(BROKEN, BROKEN)
    assert call("ask", service, already_done=lambda: None) == "answer"
    assert service.num_tries == 3


def test_looking_up_may_fail_too():
    assert call("ask", Service(BROKEN), already_done=Service(BUSY)) == "answer"
