#!/usr/bin/env bash
# PyYAML writes some texts of digits without quotes that sigs.k8s.io/yaml, with which kubectl reads
# its files, takes for numbers or truth values.
#
# PyYAML quotes a text where it would itself read another type: "1234567890", "1.5", "yes". It does not
# know three of the forms that the Go library reads: an octal number with an 8 or a 9 (a float there), a
# float with an exponent but without a dot, and y and n. So a label such as a short commit, 1234567e89,
# or an identifier of digits that begins with 0, comes out of json -> yaml.safe_dump as a number: "cannot
# unmarshal number into Go struct field ObjectMeta.metadata.labels of type string". Of ten random
# hexadecimal digits, three in a thousand have such a form.
#
# Seen on 2026-11-30 with Python 3.11 and Go 1.26:
#   PyYAML 6.0.3 writes     a: 0450682645, b: 12e45, c: y, d: '1234567890'
#   sigs.k8s.io/yaml 1.6.0  reads a: float64, b: float64, c: bool, d: string
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pyyaml==6.0.3
"$work/venv/bin/python" - >"$work/texts.yaml" <<'PY'
import yaml

texts = {"a": "0450682645", "b": "12e45", "c": "y", "d": "1234567890"}
written = yaml.safe_dump(texts)
assert yaml.safe_load(written) == texts  # PyYAML itself reads what it wrote
print(written, end="")
PY

cat >"$work/main.go" <<'GO'
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var texts map[string]any
	if err := yaml.Unmarshal(text, &texts); err != nil {
		panic(err)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		fmt.Printf("%s: %T\n", name, texts[name])
	}
}
GO
cd "$work"
export GOFLAGS=-mod=mod GOPATH="$work/go"
go mod init example.com/texts 2>/dev/null
go get sigs.k8s.io/yaml@v1.6.0 2>/dev/null
{
    cat texts.yaml
    go run main.go texts.yaml
} >seen
cat seen
diff seen - <<'SEEN'
a: 0450682645
b: 12e45
c: y
d: '1234567890'
a: float64
b: float64
c: bool
d: string
SEEN
