#!/usr/bin/env bash
# Checks and times the CUDA kernels on a GPU, in one go and within a time limit: for a machine with nvcc and, for their
# parts, compute-sanitizer, PyTorch and ncu. It needs neither Node nor TensorFlow.
#
#   bash test/cuda/device.sh [--out DIR] [--resume DIR] [--minutes N] [--prebuilt] [--arch sm_NN] [PART...]
#
#   --out DIR      where results go (build/device): results.md, results.json, parts.json, peers.json, ncu.csv, logs.txt
#   --resume DIR   results of an earlier run: what it has done with the same sources is not done again, nor what it has
#                  timed on the same card
#   --minutes N    for all parts together (6)
#   --prebuilt     takes build/device/check as it is, whatever its age
#   --arch sm_NN   what to compile for (native); then `build` alone needs no GPU
#
# Parts, in order of worth; those joined by + run at the same time:
#
#   build          build/device/check, or the one that is there where it is newer than the sources and runs
#   checks         all checks, without timings
#   timings        the decoding step, then eqs 4-8 and the sampler
#   memcheck racecheck synccheck       one in seven of the small checks under compute-sanitizer
#   peers          the same in PyTorch and in transformers: peers.py
#   timings-rest   everything else
#   ncu            hardware counters of one launch of each kernel of a decoding step
#
# A part that fails or runs out of time does not stop the others. Exit code: 0 if all parts that ran passed, 1 if not,
# 2 if nothing could run.
set -u
command="test/cuda/device.sh $*"
out=build/device resume= minutes=6 prebuilt= arch=native parts=()
stop() {
  echo "$1" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --out | --resume | --minutes | --arch)
      [ $# -gt 1 ] || stop "$1 needs a value."
      declare "${1#--}=$2"
      shift
      ;;
    --prebuilt) prebuilt=1 ;;
    -*) stop "There is no option $1: see the head of test/cuda/device.sh." ;;
    *) parts+=("$1") ;;
  esac
  shift
done
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || stop "--minutes needs a number, not $minutes."
[ ${#parts[@]} -gt 0 ] || parts=(build checks timings peers memcheck+racecheck+synccheck timings-rest ncu)

# The most seconds a part may take.
limit_of() {
  case $1 in
    build) echo 90 ;;
    checks) echo 100 ;;
    timings) echo 75 ;;
    memcheck) echo 120 ;;
    peers) echo 150 ;;
    racecheck) echo 180 ;;
    synccheck) echo 120 ;;
    timings-rest) echo 90 ;;
    ncu) echo 75 ;;
  esac
}
for part in ${parts[*]//+/ }; do
  [ -n "$(limit_of "$part")" ] || stop "There is no part $part: see the head of test/cuda/device.sh."
done

out=$(realpath -m "$out")
[ -z "$resume" ] || resume=$(realpath -m "$resume")
cd "$(dirname "$0")/../.." || exit 2
PATH=$PATH:/usr/local/cuda/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Ended from outside, it ends what runs and keeps what that has printed.
trap 'kill $(jobs -p) 2>/dev/null; tail -n 500 "$work"/*.log >> "$out/logs.txt" 2>/dev/null; exit 1' INT TERM
check=$PWD/build/device/check
ask() { nvidia-smi --query-gpu="$1" --format=csv,noheader --id=0 2>/dev/null; }
card=$(ask name) || card= # it prints its errors to standard output
if [ -z "$card" ] && { [ "$arch" = native ] || [ "${parts[*]}" != build ]; }; then
  stop "There is no GPU here: run this where nvidia-smi shows one, or compile for one with --arch sm_90 build."
fi
export out work check prebuilt arch card
mkdir -p "$out" build/device build/cuda || exit 2
table() { python3 test/cuda/device_table.py "$@"; }
export -f table
sources=$(cat kernels/*.h kernels/*/*.{h,cu} test/cuda/*.{h,cu} | sha256sum | cut -c1-12)
if [ -n "$resume" ]; then
  table resume "$out" "$resume" || exit 2
else
  rm -f "$out"/{results.md,results.json,parts.json,peers.json,ncu.csv,logs.txt}
fi
table run "$out" --about "date=$(date -u +%FT%TZ)" "command=$command" "card=$card" "sources=$sources" \
  "driver=$(ask driver_version)" \
  "nvcc=$(nvcc --version 2>/dev/null | sed -n 's/.*release \([^,]*\),.*/\1/p')"

# ---- the parts; each runs in a shell of its own, under `timeout`

# Line by line, so that what was printed before a time limit is not lost.
run_check() { stdbuf -oL "$check" "$@"; }

part_build() {
  if [ -x "$check" ]; then
    local newer
    newer=$(find kernels test/cuda \( -name '*.cu' -o -name '*.h' \) -newer "$check")
    if [ -n "$prebuilt" ] || [ -z "$newer" ]; then
      "$check" --small --only upload && return
      echo "build/device/check does not run here: compiling it."
    fi
  fi
  [ build/cuda/golden.inc -nt test/fixtures/sda_step.json ] ||
    table golden test/fixtures/sda_step.json build/cuda/golden.inc || return
  mkdir -p "$work/objects"
  # Each compilation is one process: several at a time.
  printf '%s\n' kernels/*/*.cu test/cuda/*.cu | xargs -P "$(nproc)" -I{} sh -c '
    nvcc -std=c++17 -O3 -arch="$arch" -I build/cuda -c "$1" -o "$work/objects/$(echo "$1" | tr / _).o" ||
      { echo "$1 does not compile."; exit 1; }' _ {} || return
  local lib
  lib=$(dirname "$(command -v nvcc)")/../lib # where PyPI's packages have it
  [ -d "$lib" ] && lib="-L$lib" || lib=
  nvcc -arch="$arch" $lib "$work"/objects/*.o -o "$check" || return
  [ -z "$card" ] || "$check" --small --only upload
}

part_checks() { run_check --no-timings --json "$work/checks.1.json"; }

# Two runs, so that the first one's JSON is there if time runs out in the second.
part_timings() {
  local rc=0
  run_check --only decode_step --json "$work/timings.1.json" || rc=1
  run_check --only step,sample --json "$work/timings.2.json" || rc=1
  return $rc
}

part_timings_rest() {
  run_check --only upload,embed,decoder_layer,linear_quantised,linear,linear_many --json "$work/timings-rest.1.json"
}

sanitize() {
  compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20 "$check" --small --every 7 --json "$work/$1.1.json"
}
part_memcheck() { sanitize memcheck; }
part_racecheck() { sanitize racecheck; }
part_synccheck() { sanitize synccheck; }

# It begins no item in its last 25 seconds: a limit that ends it amid one wastes that one.
part_peers() {
  python3 -u test/cuda/peers.py --json "$out/peers.json" --seconds $((limit > 50 ? limit - 25 : limit / 2))
}

# The check begins with three small steps (about 40 launches of each kind): past them, one layer after
# another at the first model's sizes, then eqs 4-8 and the sampler. --kill ends the program once the launches are there.
part_ncu() {
  local metrics=gpu__time_duration.sum,dram__bytes.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,sm__warps_active.avg.pct_of_peak_sustained_active,launch__grid_size,launch__block_size
  metrics+=,launch__registers_per_thread
  profile() { # kernels, launches to skip, launches to take
    ncu --clock-control none --metrics $metrics --csv --page raw --print-units base --log-file "$work/ncu.csv" \
      --kernel-name "regex:^.*($1).*$" --launch-skip "$2" --launch-count "$3" --kill yes \
      "$check" --only decode_step > "$work/ncu.out" 2>&1
    local count
    count=$(grep -c '^"[0-9]' "$work/ncu.csv")
    grep '^"' "$work/ncu.csv" >> "$out/ncu.csv"
    if [ "${count:-0}" -gt 0 ]; then
      echo "$count launches of $1"
    else # --kill makes the exit code say nothing
      cat "$work/ncu.out" "$work/ncu.csv"
      return 1
    fi
  }
  rm -f "$out/ncu.csv"
  local rc=0
  profile 'append|attend|few_rows|many_rows|rms_norm_rows|split_rows' 100 8 || rc=1
  profile 'stream_tiles|steer_tiles|temper_tiles|normalise|best|clear|histogram|collect' 60 12 || rc=1
  return $rc
}
export -f run_check sanitize $(compgen -A function part_)

# ---- running them

ends=$(awk "BEGIN { print int($minutes * 60) }") # SECONDS counts from the start of this script
worst=0
built= # or 1: there is a build/device/check to run
[[ " ${parts[*]} " = *" build "* ]] || ! [ -x "$check" ] || built=1

# Runs one part and leaves its exit code and seconds in $work.
run_part() {
  local part=$1 began=$SECONDS
  timeout -k 5 "$limit" bash -c "part_${part//-/_}" > "$work/$part.log" 2>&1 < /dev/null &
  trap "kill $!; exit" TERM
  wait $!
  echo "$? $((SECONDS - began))" > "$work/$part.rc"
}

# Reads them, and keeps the log and the result.
keep() {
  local part=$1 rc seconds state=failed
  read -r rc seconds < "$work/$part.rc"
  case $rc in
    0) state=done ;;
    124 | 137) state=timeout ;;
  esac
  { echo "==== $part: $state, $seconds s" && tail -c 2000000 "$work/$part.log"; } >> "$out/logs.txt"
  local json=("$work/$part".1.json)
  [ "$part" != timings ] || json+=("$work/timings.2.json")
  table record "$out" "$part" $state "$seconds" --log "$work/$part.log" --ncu "$out/ncu.csv" --check "${json[@]}" \
    --about "card=$card" "sources=$sources"
  [ "$state" = done ] || worst=1
  [ "$part:$state" != build:done ] || built=1
  echo "$part: $state, $seconds s"
  [ "$state" = done ] || tail -n 5 "$work/$part.log" | cut -c1-300 | sed 's/^/    /'
  rm "$work/$part.log"
}

# Why a part cannot run now, or nothing.
obstacle() {
  case $1 in
    build) return ;;
    peers) command -v python3 > /dev/null || echo "there is no python3" ;;
    *) [ -n "$built" ] || echo "build/device/check is not built" ;;
  esac
}

for group in "${parts[@]}"; do
  running=()
  for part in ${group//+/ }; do
    # An earlier run's program may have stayed where it was: build looks for itself.
    if [ -n "$resume" ] && [ "$part" != build ] &&
      table done "$out" "$part" --about "card=$card" "sources=$sources"; then
      echo "$part: done before"
      continue
    fi
    why=$(obstacle "$part")
    left=$((ends - SECONDS - 3))
    [ -n "$why" ] || [ $left -ge 8 ] || why="no time was left"
    if [ -n "$why" ]; then
      echo "$part: not run, $why"
      echo "$why" > "$work/$part.log"
      table record "$out" "$part" "not run" 0 --log "$work/$part.log" --about "card=$card" "sources=$sources"
      continue
    fi
    limit=$(limit_of "$part")
    [ "$limit" -le $left ] || limit=$left
    export limit
    run_part "$part" &
    running+=("$part")
  done
  [ ${#running[@]} -gt 0 ] || continue
  wait
  for part in "${running[@]}"; do keep "$part"; done
  table table "$out" --quiet # so that a run that is ended from outside leaves one too
done
echo
table table "$out"
exit $worst
