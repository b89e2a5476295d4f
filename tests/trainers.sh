# shellcheck shell=bash
# What the end-to-end tests of the training commands share. Sourced from the repository's root, it finds darknet or
# skips, and enters a work folder; its functions make small data and networks there.

. tests/work.sh darknet
darknet=$build/darknet
export HRNN_WEIGHTS=$root/weights/hrnn.safetensors

# seen FILE: the number of images in the header of a weights file.
seen() { od -An -t u8 -j 12 -N 8 "$1" | tr -d ' '; }

# ppm FILE SIDE PHASE: a coloured image that depends on PHASE.
ppm() {
    { printf 'P6\n%d %d\n255\n' "$2" "$2"
      LC_ALL=C awk -v side="$2" -v phase="$3" 'BEGIN {
          for (i = 0; i < side * side * 3; ++i) printf "%c", 32 + (i * (3 + phase) + phase * 37) % 90 }'
    } >"$1"
}

# make_images N SIDE: images/NNNN_apple.ppm and images/NNNN_pear.ppm, their lists, labels, boxes and values.
make_images() {
    mkdir -p images labels
    local i name
    for ((i = 0; i < $1; ++i)); do
        name=$(printf '%04d_%s' "$i" "$( ((i % 2)) && echo pear || echo apple)")
        ppm "images/$name.ppm" "$2" "$i"
        echo "$((i % 2)) 0.5 0.4 0.$((i % 5 + 2)) 0.3" >"labels/$name.txt"
        echo "$PWD/images/$name.ppm"
    done >train.list
    printf 'apple\npear\n' >labels.list
    printf 'classes=2\ntrain=train.list\nvalid=train.list\nlabels=labels.list\nnames=labels.list\nbackup=backup\n' \
        >train.data
}

# net OPTIONS...: the [net] section of a small network of images.
net() {
    printf '%s\n' '[net]' batch=4 subdivisions=2 width=16 height=16 channels=3 learning_rate=0.01 \
        momentum=0.9 decay=0.0005 max_batches=5 seed=7 angle=7 hue=.1 saturation=1.3 exposure=1.3 aspect=1.2 \
        min_crop=14 max_crop=20 "$@"
}

classifier_layers() {
    printf '%s\n' '[convolutional]' filters=4 size=3 stride=2 pad=1 activation=leaky batch_normalize=1 \
        '[dropout]' probability=.3 '[convolutional]' filters=2 size=1 activation=linear '[avgpool]' '[softmax]'
}

detector_layers() {
    printf '%s\n' '[convolutional]' filters=4 size=3 stride=2 pad=1 activation=leaky '[convolutional]' filters=14 \
        size=1 activation=linear '[yolo]' mask=0,1 anchors=4,4,8,8 classes=2 num=2 jitter=.3 ignore_thresh=.7 \
        truth_thresh=1 "$@"
}

# refused PATTERN COMMAND...: darknet ends with status 1 and a last line that matches, before it trains.
refused() {
    local pattern=$1 status=0
    shift
    "$darknet" "$@" >out 2>err || status=$?
    [ "$status" = 1 ] || wrong "exit status $status instead of 1: $*"
    tail -n 1 err | grep -qE -- "$pattern" || wrong "\"$(tail -n 1 err)\" does not match \"$pattern\": $*"
    ! grep -q ' avg, ' out || wrong "trained before it said: $pattern"
}
