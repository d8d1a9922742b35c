#!/usr/bin/env bash
# aiohttp 3.12.0: a request whose body is a file object fails with ValueError where the server has
# closed the kept connection.
#
# For idempotent methods aiohttp repeats a request by itself if a connection that it reuses turns out
# to be closed. In 3.12.0 (and 3.11.1) the first attempt has closed the file object, so the repeated
# one raises "I/O operation on closed file" out of session.request(). It is neither a ClientError nor
# an OSError, which callers catch to try again. A body of bytes is repeated without an error, and in
# 3.12.15 so is a file object.
#
# Seen on 2026-11-29 with Python 3.11:
#   3.12.0 bytes 200
#   3.12.0 file ValueError: I/O operation on closed file.
#   3.12.15 bytes 200
#   3.12.15 file 200
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/repeat.py" <<'PY'
import asyncio
import importlib.metadata
import io

import aiohttp

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def serve(reader, writer):
    """Answer the first request of a connection; close it, without an answer, at the second one."""
    for is_first in (True, False):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        if is_first:
            writer.write(ANSWER)
            await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1]
    for name, body in (("bytes", lambda: b"{}"), ("file", lambda: io.BytesIO(b"{}"))):
        async with aiohttp.ClientSession() as session:
            try:
                for _ in range(2):
                    async with session.put(url, data=body()) as answer:
                        await answer.read()
                outcome = answer.status
            except Exception as error:
                outcome = "%s: %s" % (type(error).__name__, error)
        print(importlib.metadata.version("aiohttp"), name, outcome)
    server.close()


asyncio.run(main())
PY

for version in 3.12.0 3.12.15; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet --disable-pip-version-check "aiohttp==$version"
    "$work/$version/bin/python" "$work/repeat.py"
done >"$work/seen"
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
3.12.0 bytes 200
3.12.0 file ValueError: I/O operation on closed file.
3.12.15 bytes 200
3.12.15 file 200
SEEN
