"""Alerts: rules that are judged by what is published, and messages to webhooks. Needs no torch."""
