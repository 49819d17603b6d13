# What the scripts of the guest share.
failures=0 name=engine

# expect WHAT EXPECTED COMMAND…: what the command says.
expect() {
  local what=$1 expected=$2 said
  shift 2
  said=$("$@" 2>&1 </dev/null)
  if [ "$said" = "$expected" ]; then
    echo "$name: $what ... ok"
  else
    echo "$name: $what ... FAILED: expected '$expected', got '$said'"
    failures=$((failures + 1))
  fi
}

# status COMMAND…: how the command ends, as a word.
status() {
  "$@" >/tmp/said 2>&1
  echo $?
}
