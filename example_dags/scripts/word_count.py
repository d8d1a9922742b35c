"""Count the words of a text, without those in stop_words.txt beside this script."""

import json
import sys
from collections import Counter
from pathlib import Path

stop_words = set(Path(__file__).with_name("stop_words.txt").read_text().split())
text = json.loads(sys.argv[1])["text"]
words = Counter(word for word in text.lower().split() if word not in stop_words)
print(json.dumps(dict(words.most_common(3))))
