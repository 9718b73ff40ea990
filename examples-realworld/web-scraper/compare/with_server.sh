#!/bin/sh
# with_server.sh FOLDER WORKERSxLATENCY COMMAND...
# Runs the command while the server runs, with the list of URLs in FOLDER/urls. The server is killed
# and not waited for, so that its CPU time is not booked to the command.
folder=$1 latency=${2#*x}
shift 2
rm -f "$folder/port"
"$folder/serve" "$folder/port" "$latency" &
server=$!
trap 'kill -9 $server' EXIT
until [ -e "$folder/port" ]; do
    kill -0 $server || exit 1
    sleep 0.01
done
sed "s/PORT/$(cat "$folder/port")/" "$folder/pages" > "$folder/urls"
"$@"
