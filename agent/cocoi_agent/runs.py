"""Runs from arrival to their last answer: admission, rows, skip, cancel, answers.

Every part of every run is answered exactly once, whatever happens, unless its host
is gone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from cocoi_agent.engine import OutOfMemoryError
from cocoi_agent.jobs import WHOLE, BadRowsError, Job, Outcome, Task
from cocoi_agent.scheduler import Scheduler
from cocoi_agent.wire.messages import Answer, Cancel, Credit, Part, Rows, Run, Skip, Status
from cocoi_agent.wire.tensors import AnyArray, total_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_agent.budget import Budget
    from cocoi_agent.clients import Client, Verdict
    from cocoi_agent.compute import Computer
    from cocoi_agent.library import Library


class Runs:
    """The unfinished runs of all hosts.

    Attributes:
        backlog: Parts that wait or run.
        served: Parts computed so far.

    Args:
        computer: Prepares, computes and finishes one part.
        library: Knows the loaded programs.
        budget: The memory that runs count against.
        queue_limit: Parts that may wait or run.
        clock: Monotonic seconds.
    """

    def __init__(
        self, computer: Computer, library: Library, budget: Budget, queue_limit: int, clock: Callable[[], float]
    ) -> None:
        self._library = library
        self._budget = budget
        self._queue_limit = queue_limit
        self._clock = clock
        self._order = 0
        self.scheduler = Scheduler(computer, self._ended)
        self.backlog = 0
        self.served = 0

    def __repr__(self) -> str:
        return f"<Runs backlog={self.backlog} served={self.served} {self.scheduler!r}>"

    def judge(self, client: Client, run: Run) -> Verdict | None:
        """Why a run is not taken, as code and sentence; None reserves its memory.

        The caller keeps `bytes_of_run(run)` as reserved until `start` takes them over.
        """
        if run.run in client.runs:
            return "duplicate-run", f"run {run.run} is not finished"
        if self._library.find_program(run.program) is None:
            return "unknown-program", f"the program `{run.program}` is not loaded"
        parts = len(run.parts) or 1
        if self.backlog + parts > self._queue_limit:
            return "queue-full", f"{parts} parts do not fit: {self.backlog} of {self._queue_limit} are taken"
        misfit = find_misfit(run)
        if misfit is not None:
            return "bad-run", misfit
        too_large = self._budget.reserve(bytes_of_run(run))
        return None if too_large is None else ("memory", too_large)

    def start(self, client: Client, run: Run, tensors: tuple[AnyArray, ...]) -> None:
        """Queue a run that was judged fit and whose tensors have come."""
        program = self._library.find_program(run.program)
        if program is None or run.run in client.runs:  # changed while the tensors arrived
            self._budget.release(bytes_of_run(run))
            code = "unknown-program" if program is None else "duplicate-run"
            self.refuse(client, run, (code, f"run {run.run} cannot begin any more"))
            return
        self._order += 1
        try:
            job = Job(
                client, run, program, tensors, order=self._order, received_s=self._clock(), reserved=bytes_of_run(run)
            )
        except MemoryError as error:  # for the rows that are still to come
            self.fail(client, run, (OutOfMemoryError.code, str(error) or "no memory"))
            return
        client.runs[run.run] = job
        self.backlog += len(job.waiting)
        self.scheduler.enqueue(job)

    def fail(self, client: Client, run: Run, verdict: Verdict) -> None:
        """Answer every part of a run that was judged fit and yet cannot begin; its memory is given back."""
        self._budget.release(bytes_of_run(run))
        self.refuse(client, run, verdict, Status.FAILED)

    def refuse(self, client: Client, run: Run, verdict: Verdict, status: Status = Status.REFUSED) -> None:
        """Answer every part of a run that is not taken."""
        now = self._clock()
        for part in run.parts or (WHOLE,):
            outcome = Outcome(status, now, now, code=verdict[0], message=verdict[1])
            client.answer(self._answer(run, part, outcome, now), ())
        if run.tensors:
            client.tell(Credit(total_bytes(run.tensors)))

    def judge_rows(self, client: Client, rows: Rows) -> Verdict | None:
        """Why rows are not taken; None where they continue their run."""
        job = client.runs.get(rows.run)
        if job is None:
            return "unknown-run", f"run {rows.run} is not known or has ended"
        try:
            job.expects(rows)
        except BadRowsError as error:
            return "bad-rows", str(error)
        return None

    def add_rows(self, client: Client, rows: Rows, tensors: tuple[AnyArray, ...], verdict: Verdict | None) -> None:
        """Put rows in their place; rows that do not fit end their run, late ones are dropped."""
        job = client.runs.get(rows.run)
        if job is None or verdict is not None:
            client.tell(Credit(total_bytes(rows.tensors)))
            if job is not None and verdict is not None:
                self._end_parts(job, job.cancel(), Status.FAILED, verdict)
            return
        job.add_rows(tensors)
        self.scheduler.enqueue(job)

    def skip(self, client: Client, message: Skip) -> None:
        """Drop parts that have not begun."""
        job = client.runs.get(message.run)
        if job is not None:
            self._end_parts(job, job.drop(frozenset(message.parts)), Status.SKIPPED)
            self.scheduler.enqueue(job)

    def cancel(self, client: Client, message: Cancel) -> None:
        """End runs: what waits at once, what runs at its next check."""
        for job in list(client.runs.values()):
            if message.run in {None, job.run.run} and message.stream in {None, job.run.stream}:
                self._end_parts(job, job.cancel(), Status.CANCELLED)

    def forget(self, client: Client) -> None:
        """A host is gone: drop its runs without answering."""
        for job in list(client.runs.values()):
            self.backlog -= len(job.cancel())
            self._retire(job)

    def _ended(self, task: Task, outcome: Outcome) -> None:
        """The thread is done with a part: answer it, once those before it are answered."""
        task.outcome = outcome
        job = task.job
        if job.owner.answer_credit and len(job.working) == 1:
            self._answer_ended(job)
            return
        with job.owner.connection.together():
            self._answer_ended(job)

    def _answer_ended(self, job: Job) -> None:
        while job.working and (first := job.working[0].outcome) is not None:
            self._answer_part(job, job.working.pop(0).part, first)
        self._retire(job)

    def _answer_part(self, job: Job, part: Part, outcome: Outcome) -> None:
        self.backlog -= 1
        if outcome.status is Status.DONE:
            self.served += 1
        if not job.owner.connection.is_closed:
            credit = None
            if job.owner.answer_credit and job.is_finished:
                credit, job.credit = job.credit or None, 0
            answer = self._answer(job.run, part, outcome, job.received_s, credit)
            job.owner.answer(answer, [array for _, array in outcome.tensors])

    def _end_parts(self, job: Job, parts: list[Part], status: Status, error: Verdict = ("", "")) -> None:
        """Answer for parts that were taken out of the queue."""
        now = self._clock()
        for part in parts:
            self.backlog -= 1
            outcome = Outcome(status, now, now, code=error[0], message=error[1])
            job.owner.answer(self._answer(job.run, part, outcome, job.received_s), ())
        self._retire(job)

    def _retire(self, job: Job) -> None:
        """Forget a run whose parts have all ended, and give its memory back."""
        if job.is_retired or not job.is_finished:
            return
        job.is_retired = True
        job.arrays = ()
        self._budget.release(job.reserved)
        job.owner.runs.pop(job.run.run, None)
        if job.credit:
            job.owner.tell(Credit(job.credit))

    def _answer(self, run: Run, part: Part, outcome: Outcome, received_s: float, credit: int | None = None) -> Answer:
        return Answer(
            run=run.run,
            stream=run.stream,
            codeword=run.codeword,
            part=part.part,
            status=outcome.status,
            tensors=tuple(spec for spec, _ in outcome.tensors),
            code=outcome.code,
            message=outcome.message,
            received_s=received_s,
            started_s=outcome.started_s,
            finished_s=outcome.finished_s,
            backlog=self.backlog,
            credit=credit,
        )


def find_misfit(run: Run) -> str | None:
    """What is contradictory in a run, so that it cannot be sliced; None where nothing is."""
    if len({spec.name for spec in run.tensors}) != len(run.tensors):
        return "two tensors have the same name"
    if len({part.part for part in run.parts}) != len(run.parts):
        return "two parts have the same number"
    if not run.parts and run.rows_total is None:
        return None
    if not run.tensors:
        return "the run has parts but no tensors"
    for spec in run.tensors:
        if run.axis >= len(spec.shape):
            return f"tensor `{spec.name}` has no axis {run.axis}"
        rows = spec.shape[run.axis] if run.rows_total is None else run.rows_total
        if spec.shape[run.axis] > rows or any(part.stop > rows for part in run.parts):
            return f"tensor `{spec.name}` has {rows} rows; more are named"
        if run.rows_total is not None and spec.shape[run.axis] != run.tensors[0].shape[run.axis]:
            return "the tensors begin with different numbers of rows"
    return None


def bytes_of_run(run: Run) -> int:
    """Bytes of the run's tensors once all their rows are there."""
    if run.rows_total is None:
        return total_bytes(run.tensors)
    total = 0
    for spec in run.tensors:
        shape = (*spec.shape[: run.axis], run.rows_total, *spec.shape[run.axis + 1 :])
        total += dataclasses.replace(spec, shape=shape).nbytes
    return total
