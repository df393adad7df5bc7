"""Beijing air: twelve stations, hourly, with gaps."""

from datetime import timedelta

from feast import Entity, FeatureService, ValueType

from mlops.features.engineering import Recipe
from mlops.features.views import telemetry_view

station = Entity(name="station", join_keys=["device_id"], value_type=ValueType.STRING)

beijing_pollution = telemetry_view(
    name="beijing_pollution",
    entity=station,
    dataset="beijing_air",
    recipe=Recipe(
        columns=("pm25_ugm3", "pm10_ugm3", "co_ugm3", "no2_ugm3"),
        windows=("3h", "24h"),
        statistics=("value", "mean", "slope", "lag1"),
        calendar=("hour",),  # a window of three weeks cannot teach a season
    ),
    ttl=timedelta(hours=3),
    description="Pollutants, their level and their trend.",
)

beijing_weather = telemetry_view(
    name="beijing_weather",
    entity=station,
    dataset="beijing_air",
    recipe=Recipe(
        columns=("temperature_c", "pressure_hpa", "dew_point_c", "rain_mm", "wind_speed_ms"), statistics=("value",)
    ),
    ttl=timedelta(hours=3),
    description="Weather as it is.",
)

beijing_pm25_v1 = FeatureService(name="beijing_pm25_v1", features=[beijing_pollution, beijing_weather])
