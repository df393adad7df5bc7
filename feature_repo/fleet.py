"""The sample fleet: telemetry of pumps, every ten minutes. Your own data gets a file like this one."""

from datetime import timedelta

from feast import Entity, FeatureService, ValueType

from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

device = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING, description="A pump of the fleet.")

fleet_telemetry = telemetry_view(
    name="fleet_telemetry",
    entity=device,
    dataset="fleet",
    recipe=Recipe(
        columns=("temperature", "pressure", "vibration", "rotation"),
        windows=("1h", "6h"),
        statistics=("value", "deviation", "std", "slope"),
        calendar=("hour",),
    ),
    ttl=timedelta(hours=2),
    description="Level, change and spread of each sensor over one and six hours.",
    owner="platform@example.com",
)

fleet_anomaly_v1 = FeatureService(
    name="fleet_anomaly_v1",
    features=[fleet_telemetry],
    description="What the model fleet_anomaly sees of a pump.",
    owner="platform@example.com",
)
