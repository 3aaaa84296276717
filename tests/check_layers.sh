#!/usr/bin/env bash
# Includes point one way: common knows neither program, the programs do not
# know each other.  And a module includes its own header before anything else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
status=0

complain() {
	echo "check_layers: $*" >&2
	status=1
}

for folder in common coordinator worker; do
	for file in "$folder"/*.[ch]; do
		while IFS=: read -r line name; do
			[[ -e $folder/$name || -e common/$name ]] ||
				complain "$file:$line: includes $name, which is" \
					"neither in $folder nor in common"
		done < <(grep -n '^# *include *"' "$file" |
			sed 's/:.*"\(.*\)".*/:\1/')

		own=${file%.c}.h
		[[ $file == *.c && -e $own ]] || continue
		first=$(sed -n 's/^# *include *["<]\(.*\)[">].*/\1/p;T;q' "$file")
		[[ $first == "${own##*/}" ]] ||
			complain "$file: includes $first before ${own##*/}"
	done
done
exit $status
