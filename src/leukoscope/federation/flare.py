"""The rounds of training over NVFlare (Apache-2.0), which only carries the files: what they say stays as it is.

The server runs `FlareCentre`, each site `FlareSite`; both move the very bytes that `federate train` and `federate
combine` write. So a site's file is signed with the site's own key beside the certificate of its connection, and a
site that is killed, late or wrong in a round is left out of that round.

Needs NVFlare: ``pip install 'leukoscope[flare]'``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.job_config.api import FedJob

from leukoscope.bundle.read import read_bundle
from leukoscope.datasets.open import open_sets
from leukoscope.errors import DataError, LeukoscopeError
from leukoscope.federation.centre import centre_step
from leukoscope.federation.parcel import Parcel
from leukoscope.federation.site import SiteCells, kept_aside, log_sent, site_cells, site_parcel
from leukoscope.files import write_bytes, write_json
from leukoscope.keys import read_key
from leukoscope.runs.measure import unseen_by

TASK: Final = "leukoscope_round"
_STATE, _PARCEL = "state", "parcel"


class FlareSite(Executor):  # type: ignore[misc]
    """A site: answers each round from its own cells.

    What it answers from stands in a file that only the site has, JSON: ``bundle``, ``data`` (a list), ``key``,
    ``cache``, ``out`` (folder for what is sent, and the log), and if wanted ``groups``, ``keep_aside``, ``seed``.

    Args:
        settings: that file; ``{site}`` stands for the site's name, a relative path lies in the site's ``local`` folder.
    """

    def __init__(self, settings: str = "leukoscope.json") -> None:
        super().__init__()
        self.settings = settings
        self._held: tuple[dict[str, Any], str, SiteCells] | None = None

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Answer a round; a fault of the site's own is told to the centre as a word, without details of its files."""
        if task_name != TASK:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        site = str(fl_ctx.get_identity_name())
        try:
            reply = Shareable()
            reply[_PARCEL] = self._answer(site, shareable.get(_STATE), fl_ctx)
        except LeukoscopeError as error:
            self.log_error(fl_ctx, str(error))
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        return reply

    def _answer(self, site: str, state: bytes | None, fl_ctx: FLContext) -> bytes:
        told = None if state is None else Parcel.from_bytes(state, "the centre's state")
        given, model, cells = self._held or self._read(site, fl_ctx)
        self._held = given, model, cells
        parcel = site_parcel(told, cells, site=site, model=model, key=read_key(Path(given["key"])))
        folder = Path(given["out"])
        out = folder / f"{site}.round-{parcel.head.round}"
        write_bytes(out, parcel.to_bytes())
        for line in log_sent(parcel, out, folder / f"{site}.log"):
            self.log_info(fl_ctx, line)
        return parcel.to_bytes()

    def _read(self, site: str, fl_ctx: FLContext) -> tuple[dict[str, Any], str, SiteCells]:
        file = Path(self.settings.format(site=site))
        if not file.is_absolute():
            file = Path(fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_site_config_dir()) / file
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
            bundle = read_bundle(Path(given["bundle"]))
            folder, groups = Path(given["cache"]), given.get("groups")
            sets = open_sets(
                [Path(each) for each in given["data"]],
                cut_folder=folder,
                groups=None if groups is None else Path(groups),
            )
            learned, held = kept_aside(
                unseen_by(bundle, sets.manifest), float(given.get("keep_aside", 0.2)), int(given.get("seed", 0))
            )
            Path(given["out"]).mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"holds no settings of a site ({error!r})", path=file, remedy="see docs/laboratories.md"
            ) from error
        held.write_csv(Path(given["out"]) / f"{site}.aside.csv")
        return given, bundle.digest, site_cells(bundle, learned, folder)


class FlareCentre(Controller):  # type: ignore[misc]
    """The server: asks all sites in each round, joins what counts, and stops where nothing more would change.

    Args:
        settings: JSON at the server: ``key``, ``out`` (folder for states and the log), and if wanted ``trust`` (public
            key by site).
        rounds: at most, round 0 included.
        least: sites that must answer.
        wait: seconds that a round waits for late sites once ``least`` have answered.
        limit: seconds of a round in all.
        strength: see `federate combine`.
    """

    def __init__(
        self, settings: str, rounds: int = 12, least: int = 2, wait: int = 60, limit: int = 3600, strength: float = 0.01
    ) -> None:
        super().__init__()
        self.settings, self.rounds, self.least = settings, rounds, least
        self.wait, self.limit, self.strength = wait, limit, strength
        self._got: list[Parcel] = []
        self._amiss: list[str] = []

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing to do before the first round."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing to do after the last."""

    def process_result_of_unknown_task(self, *_: Any, **__: Any) -> None:
        """An answer after its round has ended does not count."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """All rounds."""
        try:
            self._run(abort_signal, fl_ctx)
        except (LeukoscopeError, OSError, ValueError, KeyError) as error:
            self.system_panic(f"leukoscope: {error}", fl_ctx)

    def _run(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        given = json.loads(Path(self.settings).read_text(encoding="utf-8"))
        out, key, trust = Path(given["out"]), read_key(Path(given["key"])), given.get("trust")
        out.mkdir(parents=True, exist_ok=True)
        state: Parcel | None = None
        log: list[dict[str, Any]] = []
        for number in range(self.rounds):
            self._got, self._amiss = [], []
            asked = Shareable()
            asked[_STATE] = None if state is None else state.to_bytes()
            task = Task(TASK, asked, timeout=self.limit, result_received_cb=self._received)
            self.broadcast_and_wait(
                task,
                fl_ctx,
                min_responses=self.least,
                wait_time_after_min_received=self.wait,
                abort_signal=abort_signal,
            )
            if abort_signal.triggered:
                return
            step = centre_step(state, self._got, key=key, strength=self.strength, trust=trust, least=self.least)
            state = step.state
            refused = [f"{each.site} {each.why}" for each in step.refused] + self._amiss
            log.append({"round": number, "sites": list(step.sites), "refused": refused, "loss": step.head.loss})
            self.log_info(fl_ctx, f"round {number}: {len(step.sites)} sites counted; refused: {refused or 'none'}")
            write_bytes(out / f"state-{number + 1}", state.to_bytes())
            write_json(out / "rounds.json", log)
            if step.head.done:
                break

    def _received(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        name, result = str(client_task.client.name), client_task.result
        client_task.result = None
        try:
            if result is None or result.get_return_code() != ReturnCode.OK:
                raise DataError("could not answer; its own log says why")
            parcel = Parcel.from_bytes(result.get(_PARCEL) or b"", name)
            if parcel.head.sender != name:
                raise DataError(f"sent a file of {parcel.head.sender}")
            self._got.append(parcel)
        except LeukoscopeError as error:
            self._amiss.append(f"{name} {error.what}")


def flare_job(
    centre: Path, site: str = "leukoscope.json", *, name: str = "leukoscope", least: int = 2, **how: Any
) -> FedJob:
    """The job to submit.

    Args:
        centre: settings file at the server, see `FlareCentre`.
        site: settings file at each site, see `FlareSite`.
        name: of the job.
        least: sites that must answer each round; others may be killed.
        how: further arguments of `FlareCentre`.
    """
    job = FedJob(name=name, min_clients=least)
    job.to_server(FlareCentre(str(centre), least=least, **how))
    job.to_clients(FlareSite(site), tasks=[TASK])
    return job
