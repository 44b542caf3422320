#!/bin/sh
# A content transform as a command: plain text without blank lines and with single spaces.
#
#   rules:
#     - match: { dport: 80 }
#       action: cache
#       content:
#         - { command: [./squeeze.sh], types: [text/plain] }
#
# The content is stdin, the new content stdout; TPOT_MEDIA_TYPE, TPOT_CHARSET and TPOT_URI say what it is.
# Any status but 0 leaves the response as it came.
set -eu
[ "${TPOT_CHARSET:-utf-8}" = utf-8 ] || exit 1
exec tr -s ' \n'
