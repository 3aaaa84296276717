#!/usr/bin/env bash
# No function over 60 lines, and no file of the programs over 600, unless the
# file says why in a line of its comments: "Long: NAME, because ..." (NAME is
# the function's, or the file's).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
status=0

report() { # file name lines limit
	grep -q "Long: $2\\b" "$1" && return 0
	echo "check_sizes: $1: $2 has $3 lines, over $4" >&2
	status=1
}

mapfile -t programs < <(find common coordinator worker -name "*.[ch]" | sort)
for file in "${programs[@]}"; do
	lines=$(wc -l <"$file")
	((lines <= 600)) || report "$file" "${file##*/}" "$lines" 600
done
mapfile -t files < <(find common coordinator worker tests -name '*.[ch]' | sort)
while IFS=$'\t' read -r file name start end; do
	lines=$((end - start + 1))
	((lines <= 60)) || report "$file" "$name" "$lines" 60
done < <(ctags -x --languages=C --langmap=C:+.h --kinds-C=f --fields=+ne \
	--_xformat=$'%F\t%N\t%n\t%e' "${files[@]}")
exit $status
