"""Application Server Dataset: twelve servers, nineteen metrics, every five minutes."""

from datetime import timedelta

from feast import Entity, FeatureService, ValueType

from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

METRICS = tuple(f"metric_{i:02d}" for i in range(19))

server = Entity(name="server", join_keys=["device_id"], value_type=ValueType.STRING)

asd_metrics = telemetry_view(
    name="asd_metrics",
    entity=server,
    dataset="asd",
    recipe=Recipe(columns=METRICS, statistics=("value",)),
    ttl=timedelta(hours=1),
    description="The metrics as they are.",
)

asd_raw_v1 = FeatureService(name="asd_raw_v1", features=[asd_metrics])
