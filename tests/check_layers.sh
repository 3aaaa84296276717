#!/usr/bin/env bash
# Includes point one way: common knows neither program, the programs do not
# know each other, and a folder of the coordinator knows only those before it
# in the list below.  And a module includes its own header before anything
# else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
status=0

coordinator=(text process closure plan registry cache image output schedule
	progress options request root transfer dispatch serve client build batch
	command)

complain() {
	echo "check_layers: $*" >&2
	status=1
}

declare -A rank=()
for i in "${!coordinator[@]}"; do rank[${coordinator[i]}]=$i; done

# known FILE NAME: whether FILE may include "NAME".
known() {
	local program=${1%%/*} folder=${1#*/} of=${2%%/*}
	[[ -e common/$2 ]] && return 0
	[[ -e $program/$2 ]] || return 1
	[[ $program == coordinator && $folder == */* ]] || return 0
	((${rank[$of]} <= ${rank[${folder%%/*}]}))
}

for folder in coordinator/*/; do
	name=$(basename "$folder")
	[[ -n ${rank[$name]-} ]] || complain "$folder: not in the list of folders"
done
mapfile -t files < <(find common coordinator worker -name '*.[ch]' | sort)
for file in "${files[@]}"; do
	while IFS=: read -r line name; do
		known "$file" "$name" ||
			complain "$file:$line: includes $name, which is not" \
				"before it"
	done < <(grep -n '^# *include *"' "$file" | sed 's/:.*"\(.*\)".*/:\1/')

	own=${file%.c}.h
	[[ $file == *.c && -e $own ]] || continue
	first=$(sed -n 's/^# *include *["<]\(.*\)[">].*/\1/p;T;q' "$file")
	[[ ${first##*/} == "${own##*/}" ]] ||
		complain "$file: includes $first before ${own##*/}"
done
exit $status
