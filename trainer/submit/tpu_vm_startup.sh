#!/usr/bin/env bash
# Start-up script of a Cloud TPU virtual machine: trains in a container, and deletes the TPU when there is nothing left to do.
#
# A notice that the machine will be taken away becomes a SIGTERM for the trainer, which then writes a checkpoint. What
# became of the training is written to Cloud Storage, where `tpu-images submit tpu-vm` reads it.
#
# Everything that differs from job to job comes from the machine's metadata (trainer/submit/tpu_vm_request.py):
#   tpu-images-image, -program, -arguments   the container; the program is "trainer" or the text of a Python program
#   tpu-images-outcome-path, -log-path       where in the storage interface the outcome and the log go
#   tpu-images-queued-resource               the name of what is deleted at the end
#   tpu-images-max-seconds                   longest training time
set -uo pipefail

readonly METADATA="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1/instance"
readonly STORAGE="${STORAGE_EMULATOR_HOST:-https://storage.googleapis.com}"
readonly TPU_API="${TPU_API_HOST:-https://tpu.googleapis.com}"
readonly POLL_SECS="${TPU_IMAGES_POLL_SECS:-5}"
readonly LOG_UPLOAD_SECS=60
# An announced maintenance counts as a notice this long before it starts; until then the TPU is worth using.
readonly NOTICE_SECS=300
readonly CONTAINER=tpu-images
readonly CURL=(curl --silent --show-error --fail --max-time 60)

log=$(mktemp)
stop_reason=
is_told_to_stop=

say() { echo "tpu-images: $*" | tee -a "$log"; }

try_four_times() {
  local attempt
  for attempt in 1 2 3 4; do
    "$@" && return 0
    sleep "$attempt"
  done
  return 1
}

metadata() { "${CURL[@]}" --header 'Metadata-Flavor: Google' "$METADATA/$1"; }

attribute() { try_four_times metadata "attributes/tpu-images-$1"; }

token() { metadata service-accounts/default/token | sed -E 's/.*"access_token" *: *"([^"]+)".*/\1/'; }

# The token goes through a pipe: on a command line every user of the machine could read it.
authorized() { token | sed -E 's/(.*)/header = "Authorization: Bearer \1"/' | "${CURL[@]}" --config - "$@"; }

upload() { # FILE PATH
  try_four_times authorized --output /dev/null --request POST --header 'Content-Type: text/plain' \
    --data-binary "@$1" "$STORAGE$2"
}

# Prints why the machine will soon be taken away; fails when nothing says so.
notice() {
  local event start
  if [[ $(metadata preempted 2>/dev/null) == TRUE ]]; then
    echo preempted
    return 0
  fi
  event=$(metadata maintenance-event 2>/dev/null)
  if [[ -n $event && $event != NONE ]]; then
    echo "maintenance: $event"
    return 0
  fi
  start=$(metadata 'upcoming-maintenance?alt=json' 2>/dev/null |
    sed -nE 's/.*"windowStartTime" *: *"([^"]+)".*/\1/p' | head -n 1)
  if [[ -n $start ]] && (($(date -d "$start" +%s) - $(date +%s) < NOTICE_SECS)); then
    echo "maintenance at $start"
    return 0
  fi
  return 1
}

stop_trainer() { # REASON
  [[ -n $is_told_to_stop ]] && return
  if [[ -z $stop_reason ]]; then
    stop_reason=$1
    say "stopping the trainer: $stop_reason"
  fi
  # Fails while the image is still being fetched; the next turn of watch_trainer tries again.
  docker kill --signal TERM "$CONTAINER" >/dev/null 2>&1 && is_told_to_stop=yes
}

log_in_to_registry() { # IMAGE
  if [[ ${1%%/*} == *-docker.pkg.dev ]]; then
    token | docker login --username oauth2accesstoken --password-stdin "https://${1%%/*}" >>"$log" 2>&1
  fi
}

start_trainer() {
  local image program
  local -a arguments command
  image=$(attribute image) && program=$(attribute program) || return 1
  mapfile -t arguments < <(attribute arguments)
  command=(python -m trainer.task)
  [[ $program != trainer ]] && command=(python -u -c "$program")
  log_in_to_registry "$image"
  # Without --init the trainer would be process 1, for which the kernel ignores signals that nobody handles yet.
  docker run --rm --init --name "$CONTAINER" --privileged --network host --ulimit memlock=-1:-1 \
    "$image" "${command[@]}" "${arguments[@]}" >>"$log" 2>&1 &
  trainer=$!
}

watch_trainer() { # MAX_SECONDS LOG_PATH
  local reason next_upload=$LOG_UPLOAD_SECS
  SECONDS=0
  while kill -0 "$trainer" 2>/dev/null; do
    if [[ -n $stop_reason ]]; then
      stop_trainer "$stop_reason"
    elif reason=$(notice); then
      stop_trainer "$reason"
    elif ((SECONDS > $1)); then
      stop_trainer 'out of time'
    fi
    if ((SECONDS > next_upload)); then
      upload "$log" "$2"
      next_upload=$((SECONDS + LOG_UPLOAD_SECS))
    fi
    # In the background, so that a signal is answered at once.
    sleep "$POLL_SECS" &
    wait $!
  done
}

main() {
  local status outcome outcome_path log_path max_seconds queued_resource
  outcome_path=$(attribute outcome-path) && log_path=$(attribute log-path) && max_seconds=$(attribute max-seconds) &&
    queued_resource=$(attribute queued-resource) || exit 1
  if start_trainer; then
    trap 'stop_trainer "the machine shuts down"' TERM
    watch_trainer "$max_seconds" "$log_path"
    wait "$trainer"
    status=$?
  else
    status=1
    say 'the metadata does not say what to run'
  fi
  say "the trainer ended with status $status"
  upload "$log" "$log_path"
  outcome=$(mktemp)
  printf '{"exit_status": %d, "stop_reason": "%s"}\n' "$status" "$stop_reason" >"$outcome"
  upload "$outcome" "$outcome_path"
  try_four_times authorized --output /dev/null --request DELETE "$TPU_API/v2/$queued_resource?force=true"
}

main
