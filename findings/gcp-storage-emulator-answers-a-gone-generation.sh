#!/usr/bin/env bash
# gcp-storage-emulator 2026.7.19 ignores the generation that a client asks for: it answers with the
# newest object, status 200.
#
# Google Cloud Storage answers 404 for a generation that was deleted or never existed. With this
# emulator, google-cloud-storage reloads a Blob that was made with a generation and says nothing; only
# the generation in the answer is another one. A test that reads an old generation is green, and code
# that does not compare the two generations passes although it reads the wrong content.
#
# Seen on 2026-11-29 with Python 3.11 and google-cloud-storage 3.17.1:
#   asked for the first generation: got the second, b'new'
#   asked for generation 5: got the second, b'new'
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/ask.py" <<'PY'
import os
import socket

from gcp_storage_emulator.server import create_server

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = create_server("127.0.0.1", port, in_memory=True)
server.start()
os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

client = storage.Client("test", AnonymousCredentials())
bucket = client.create_bucket("etl")
generations = []
for content in (b"old", b"new"):
    blob = bucket.blob("x")
    blob.upload_from_string(content)
    generations.append(blob.generation)
names = dict(zip(generations, ("first", "second")))
for asked in (generations[0], 5):
    blob = bucket.blob("x", generation=asked)
    try:
        blob.reload()
        outcome = f"got the {names[blob.generation]}, {blob.download_as_bytes()}"
    except Exception as error:
        outcome = type(error).__name__
    print(f"asked for {'the first generation' if asked != 5 else 'generation 5'}: {outcome}")
client.close()
server.stop()
PY

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check gcp-storage-emulator==2026.7.19 google-cloud-storage==3.17.1
"$work/venv/bin/python" "$work/ask.py" >"$work/seen" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
asked for the first generation: got the second, b'new'
asked for generation 5: got the second, b'new'
SEEN
