"""``monitoring``: what is watched while the training runs."""

from __future__ import annotations

from footplate.profile.fields import Seconds, Section, Text, key

__all__ = ["Alerts", "Monitoring"]


class Alerts(Section):
    """Who is told when something goes wrong, of each kind at most every quarter of an hour.

    Told are stalls, losses that are no number or diverge, heat, clocks held down, little disk or memory, cost, and a
    failed end.
    """

    enabled: bool = key(False)
    """Switches them on."""
    email: Text = key("")
    """Address that mail is sent to; several with commas between them."""
    smtp_url: Text = key("")
    """Mail server, as a reference such as `${env:SMTP_URL}` to `smtps://user:password@host:465`; empty = the variable
    FOOTPLATE_SMTP_URL, else port 25 of this machine."""
    slack_webhook: Text = key("")
    """Slack-compatible webhook, as a reference: `${env:SLACK_WEBHOOK}`."""
    webhook: Text = key("")
    """Any webhook, as a reference: it gets JSON."""
    price_per_hour: float | None = key(None, ge=0)
    """What an hour of the run costs, for `max_cost`."""
    max_cost: float | None = key(None, gt=0)
    """Cost above which is told, from the launch on, in the currency of `price_per_hour`."""


class Monitoring(Section):
    """System metrics and health."""

    track_gpu_utilization: bool = key(True)
    """Records how busy the GPUs are, and the clocks of GPUs and processor."""
    track_memory_usage: bool = key(True)
    """Records main memory and GPU memory."""
    track_throughput: bool = key(True)
    """Records samples/s and steps/s, the share of time spent waiting for data, tokens/s of language models, and the
    share of the GPU's peak that is used (MFU) where the peak is known."""
    histogram_frequency: int | None = key(1000, ge=1, unit="optimiser steps")
    """Steps between two looks into the layers: norm of the gradients, size of the weights, update-to-weight ratio, and
    histograms of weights and updates; null = never. Weights that are spread over processes are not looked into."""
    track_temperature: bool = key(True)
    """Records the temperatures of GPUs and board, and when a GPU is held down for heat."""
    track_power_consumption: bool = key(True)
    """Records the power of GPUs, when they are held down for it, and the energy that GPUs and processor packages have
    used, by their own counters."""
    health_check_interval: Seconds = key(10.0, ge=0.5, unit="s")
    """Time between two readings of the machine."""
    stall_detection_threshold: Seconds | None = key(None, gt=0, unit="s")
    """Time without a step, a batch of an evaluation or a checkpoint after which the training counts as stalled: all
    stacks go to the log, and with `fault_tolerance.auto_restart` the attempt ends so that the next one can begin. The
    first step may take 300 s in any case."""
    temperature_threshold_celsius: float | None = key(None, gt=0, unit="°C")
    """Temperature (of the GPU, else the hottest of the board) above which a warning and an event are written."""
    alerts: Alerts = key(Alerts)
    """Who is told."""
