# Runs in the guest: guest.sh MODE CHECKOUT FOLDER-OF-NODE LABS. What begins with `guest:` reaches the terminal outside.
mode=$1 checkout=$2 labs=$4
export PATH="$3:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root
ip link set lo up
cd "$checkout" || exit
say() { echo "guest: $*"; }
seconds() { cut -d . -f 1 /proc/uptime; }
say "$(uname -r) is up after $(seconds) s"

# Runs a command; what it says goes out, and its status counts if it is the first that is not 0.
try() {
  { "$@" || { failed=$?; [ -e /run/failed ] || echo "$failed" >/run/failed; }; } 2>&1 | sed 's/^/guest: /'
}

try node test/kernel/load.mjs
if [ "$mode" = long ] && [ ! -e /run/failed ]; then
  say 'tpot-node doctor'
  ip link add g0 type veth peer name g1
  ip address add 198.18.255.1/24 dev g0
  ip link set g0 up
  try bin/tpot-node doctor
  ip link delete g0
fi
# A lab that does not hold says nothing about the next one: all are run, so that one run shows everything.
if [ "$mode" != short ] && [ ! -e /run/failed ]; then
  for lab in $(echo "$labs" | tr , ' '); do
    began=$(seconds)
    say "tpot-node lab $lab"
    try bin/tpot-node lab "$lab"
    say "lab $lab took $(($(seconds) - began)) s"
  done
fi
status=0
[ ! -e /run/failed ] || status=$(cat /run/failed)
say "done after $(seconds) s"
echo "$status" >/run/out/status
sync
