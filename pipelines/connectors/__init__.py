"""Connections to the plant: watched folders, MQTT, OPC UA and webhooks. They send images to the service through its API."""
