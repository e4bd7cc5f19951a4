"""The port for operators: /metrics, /healthz, /readyz, and a status page for a person."""
