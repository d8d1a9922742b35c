"""Decoding of Docker's exec stream."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.exec.protocol import Channel
from airflow_script_provider.runners.docker_stream import FrameDecoder


def a_frame(channel: int, data: bytes) -> bytes:
    """A frame as the engine sends it."""
    return bytes([channel, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 1000])
def test_frames_in_any_pieces(size: int) -> None:
    """Each output's bytes arrive in order, wherever the connection cuts the stream."""
    stream = a_frame(1, b"out 1\n") + a_frame(2, b"err\x00\xff") + a_frame(1, b"") + a_frame(1, b"out 2")
    frames, outputs = FrameDecoder(), {Channel.STDOUT: b"", Channel.STDERR: b""}
    for start in range(0, len(stream), size):
        for channel, data in frames.feed(stream[start : start + size]):
            outputs[channel] += data
    assert outputs == {Channel.STDOUT: b"out 1\nout 2", Channel.STDERR: b"err\x00\xff"}
