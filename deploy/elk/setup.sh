#!/usr/bin/env bash
# Tells Elasticsearch the templates, and Kibana the data view and the saved search, where one is named:
#   ELASTICSEARCH=http://127.0.0.1:9200 KIBANA=http://127.0.0.1:5601 deploy/elk/setup.sh
# Before anything is shipped: a stream keeps the fields it began with. It may be run again.
set -euo pipefail
here="$(dirname "${BASH_SOURCE[0]}")"
ask() { curl --fail-with-body --silent --show-error --retry 10 --retry-connrefused "$@"; echo; }
for name in alerts rejected; do
  ask -X PUT "${ELASTICSEARCH:?say where it is}/_index_template/logs-streamer.$name" \
    -H 'Content-Type: application/json' --data-binary "@$here/$name-template.json"
done
if [ -n "${KIBANA:-}" ]; then
  ask -X POST "$KIBANA/api/saved_objects/_import?overwrite=true" -H 'kbn-xsrf: true' \
    --form "file=@$here/kibana/saved-objects.ndjson"
fi
