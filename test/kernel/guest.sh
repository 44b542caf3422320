# Runs in the guest: guest.sh MODE CHECKOUT FOLDER-OF-NODE. What begins with `guest:` reaches the terminal outside.
mode=$1 checkout=$2
export PATH="$3:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root
ip link set lo up
cd "$checkout" || exit
say() { echo "guest: $*"; }
say "$(uname -r) is up after $(cut -d ' ' -f 1 /proc/uptime) s"

status=0
{ node test/kernel/load.mjs || echo $? >/run/failed; } 2>&1 | sed 's/^/guest: /'
if [ "$mode" = long ] && [ ! -e /run/failed ]; then
  say 'tpot-node doctor'
  ip link add g0 type veth peer name g1
  ip address add 198.18.255.1/24 dev g0
  ip link set g0 up
  { bin/tpot-node doctor || echo $? >/run/failed; } 2>&1 | sed 's/^/guest: /'
  ip link delete g0
fi
if [ "$mode" = long ] && [ ! -e /run/failed ]; then
  for lab in hello ecmp stripped blocked; do
    say "tpot-node lab $lab"
    { bin/tpot-node lab "$lab" || echo $? >/run/failed; } 2>&1 | sed 's/^/guest: /'
  done
fi
[ ! -e /run/failed ] || status=$(cat /run/failed)
say "done after $(cut -d ' ' -f 1 /proc/uptime) s"
echo "$status" >/run/out/status
sync
