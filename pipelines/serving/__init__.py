"""The inspection service: HTTP API, durable answers, the champion's replacement while running, shadow and canary."""
