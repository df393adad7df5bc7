"""The task in which a person approves a promotion, on a page that shows the evidence.

It waits in Airflow's `awaiting_input` state, which takes no worker. The answer goes into the ledger under the name of
whoever gave it; whether it counts (role, four eyes, one vote each) is decided there and not here. An answer that does
not count fails the task in words: clear it, and it asks again.

One rule: without a person nothing is approved, unless the settings allow that (`allow_auto_approve`, for tests and CI).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

FORM = {
    "auto_approve": Param(
        False,
        type="boolean",
        title="Approve without a person",
        description="For tests and CI; refused unless the settings say allow_auto_approve.",
    )
}


def approvals(model: str, number: int) -> list[PromotionApproval]:
    """The tasks `approve_1`, `approve_2`, …; they wait as long as people have, and are not retried."""
    return [
        PromotionApproval(
            task_id=f"approve_{i}",
            model=model,
            defaults="Reject",
            params={"comment": Param("", type=["null", "string"], title="Comment")},
            execution_timeout=None,
            retries=0,
        )
        for i in range(1, number + 1)
    ]


class PromotionApproval(ApprovalOperator):  # type: ignore[misc]
    """One approval of the version that the task `ask` asked about; skipped when no further one is needed.

    Args:
        model: name of the model.
        options: of an operator.
    """

    def __init__(self, *, model: str, **options: Any) -> None:
        self.model = model
        page = "ti.xcom_pull(task_ids='ask')"
        super().__init__(
            subject=f"{{{{ {page}['subject'] }}}}",
            body=f"{{{{ {page}['body'] }}}}",
            **options,
        )

    def execute(self, context: Any) -> Any:
        """Ask, if an approval is still missing."""
        from mlops.pipelines import tasks

        version = context["ti"].xcom_pull(task_ids="ask")["version"]
        state = tasks.approval_state(self.model, version)
        if state["status"] != "pending":
            raise AirflowSkipException(state["reason"])
        if context["params"].get("auto_approve"):
            return tasks.auto_approve(self.model, version)
        until = datetime.fromisoformat(state["until"])
        self.response_timeout = max(until - datetime.now(UTC), timedelta(seconds=1))
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer into the ledger. Nobody answered in time: that is no vote, and `promote` refuses."""
        from mlops.pipelines import tasks

        answer = HITLOperator.execute_complete(self, context, event)  # not the parent's, which would skip `promote`
        person = answer["responded_by_user"]
        if person is None:
            return {"answer": "nobody answered in time"}
        chosen: Literal["approve", "reject"] = "approve" if self.APPROVE in answer["chosen_options"] else "reject"
        version = context["ti"].xcom_pull(task_ids="ask")["version"]
        comment = str((answer["params_input"] or {}).get("comment") or "")
        return tasks.vote(self.model, version, chosen, names=(person["name"], person["id"]), comment=comment)
