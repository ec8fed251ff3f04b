#!/usr/bin/env bash
# Takes in what with-tensorflow.mjs packed, on a machine with a GPU but without network and Node, and runs all that
# needs TensorFlow there: device, tests, decoding, benchmarks.
#
#   with-tensorflow.sh receive PIECE...   checks pieces in build/with-tensorflow and keeps them in SDA_KEEP
#   with-tensorflow.sh run [--cpu] [STEP...]   joins and unpacks them, and runs all steps, or these; --cpu goes on
#                                              without a GPU (to try it out)
#
# Logs and results.json go to OUT (default: build/with-tensorflow/out). Files in build/with-tensorflow/newer replace the
# packed ones: a kernel that was built anew, for example, as newer/build/sda_kernels.node.
set -u

here=build/with-tensorflow
keep=${SDA_KEEP:-/tmp/sda-with-tensorflow}
out=${OUT:-$here/out}
tree=$keep/tree

fail() {
  echo "$1" >&2
  exit 2
}

receive() {
  mkdir -p "$keep/pieces"
  cp "$here/sha256sums" "$keep/pieces/" || fail "$here/sha256sums is missing: carry it with every piece."
  # the first call shows whether the driver takes a program without its code for other GPUs
  if [ -x "$here/probe" ]; then
    "$here/probe" || fail "$here/probe fails (see above): where a GPU is there, pack again with --whole."
  fi
  for piece in "$@"; do
    mv "$here/$piece" "$keep/pieces/" || fail "$here/$piece is missing: carry it with this call."
    (cd "$keep/pieces" && grep " $piece\$" sha256sums | sha256sum --check --quiet -) ||
      fail "$keep/pieces/$piece differs from its sum in sha256sums: send it again."
  done
  echo "received: $(ls "$keep/pieces" | grep -c piece-) of $(grep -c . "$keep/pieces/sha256sums") pieces"
}

unpack() {
  [ -e "$tree/ready" ] && return
  (cd "$keep/pieces" && sha256sum --check --quiet sha256sums) ||
    fail "Pieces are missing or damaged in $keep/pieces: receive those that sha256sum names above."
  mkdir -p "$tree"
  cat "$keep"/pieces/piece-* | tar x -C "$keep" || fail "The pieces in $keep/pieces do not unpack: is the disk full?"
  find "$keep" -name '*.zst' -print0 |
    LD_LIBRARY_PATH=$keep/zstd xargs -0 -n 1 -P 16 "$keep/zstd/zstd" -d --long=27 -q -f --rm ||
    fail "The files in $keep do not unpack: is the disk full?"
  tar x -C "$tree" -f "$keep/tree.tar" || fail "$keep/tree.tar does not unpack: is the disk full?"
  chmod +x "$keep/node" && touch "$tree/ready"
}

# step NAME LIMIT COMMAND...: runs it in the tree, at most LIMIT seconds, and notes how it ended
step() {
  local name=$1 limit=$2 began=$SECONDS
  shift 2
  [ -z "$wanted" ] || [[ " device $wanted " = *" $name "* ]] || return
  echo "== $name"
  (cd "$tree" && timeout -k 5 "$limit" "$@") 2>&1 | tee -a "$out/log"
  status=${PIPESTATUS[0]}
  results="$results${results:+,}
  {\"step\": \"$name\", \"status\": $status, \"seconds\": $((SECONDS - began)), \"limit\": $limit}"
  echo "[$results
]" > "$out/results.json"
}

run() {
  mkdir -p "$out" && out=$(cd "$out" && pwd)
  results=
  local cpu=
  [ "${1:-}" != --cpu ] || { cpu=1 && shift; }
  wanted=$*
  local began=$SECONDS
  unpack
  echo "unpacked in $((SECONDS - began)) s"
  # test sources that came with this call, and what was built anew
  for folder in src kernels test bench; do [ -d "$folder" ] && cp -r "$folder" "$tree/"; done
  [ -d "$here/newer" ] && cp -r "$here/newer/." "$tree/"
  # vitest.config.ts without what it does first, which is to build the package
  cat > "$tree/vitest.there.mjs" << 'END'
export default {
  test: { include: ['test/**/*.test.ts'], pool: 'forks', maxWorkers: 4, isolate: false, testTimeout: 60_000, hookTimeout: 60_000 },
};
END

  export LD_LIBRARY_PATH=$keep/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export SDA_CACHE_DIR=$keep/cache PATH=$keep:$PATH NO_COLOR=1
  local sda=(node dist/src/cli/main.js)

  TF_CPP_MIN_LOG_LEVEL=0 step device 60 node test/cuda/with-tensorflow.mjs device
  if [ "$status" -ne 0 ] && [ -z "$cpu" ]; then
    fail "TensorFlow takes no GPU here or multiplies wrongly (its own lines are above): correct that, or see the rest on the CPU with --cpu."
  fi
  step doctor 40 "${sda[@]}" doctor --json # status 1: the default model is missing
  step tests 150 node node_modules/vitest/vitest.mjs run --config vitest.there.mjs test/kernels test/model test/decode \
    --reporter=default --reporter=json --outputFile.json="$out/tests.json"
  step checkpoint 40 node test/cuda/with-tensorflow.mjs checkpoint "$keep/model"
  local model=(--model "$keep/model")
  [ -d "$tree/weights/SmolLM2-135M-Instruct" ] && step capital 60 "${sda[@]}" generate \
    --query 'What is the capital of France?' --greedy --max-tokens 30
  step generate 60 "${sda[@]}" generate "${model[@]}" --query 'What is the capital of France?' --max-tokens 16
  step bench 90 bash -c '"$@" > "$0"' "$out/bench.json" "${sda[@]}" bench "${model[@]}" --tokens 32 --repeats 3 --json
  step kernels 90 node dist/bench/run.js --quick
  cp "$tree"/bench/results/*.json "$out/" 2> /dev/null
  cat "$out/results.json"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
  receive | run) "$command" "$@" ;;
  *) fail 'usage: with-tensorflow.sh receive PIECE... | run [--cpu] [STEP...]' ;;
esac
