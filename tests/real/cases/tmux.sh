# tmux on a private socket: sessions, windows, panes, keys, captured text, hooks, formats, history.
# set: core
# needs: tmux
# witness: server client pane
# limit: 60
# shellcheck shell=bash

trap 'tmux -S sock kill-server 2>/dev/null || true' EXIT
export TERM=screen SHELL=/bin/sh PS1='$ '
unset TMUX

t() {
    tmux -S sock -f /dev/null "$@"
}

# Waits for a pane to show a line, since what is sent to it is answered by a shell.
shows() {
    wait_for eval "tmux -S sock capture-pane -p -t '$1' | grep -qx -- '$2'"
}

t new-session -d -s one -x 100 -y 30 "exec sh"
server=$(t display-message -p '#{pid}')
mapped server "$server"
mapped pane "$(t display-message -p -t one '#{pane_pid}')"
canary tmux -- bash -c 'tmux -S sock list-sessions >/dev/null'
sed -n 's/^tmux /client /p' "$REAL_WITNESS" >tmp/client
cat tmp/client >>"$REAL_WITNESS"

t set-option -g history-limit 5000
t set-option -g status off
t set-option -g automatic-rename off
t set-option -g allow-rename off
t rename-window -t one first
t send-keys -t one 'seq 3000; echo rea""dy' Enter
shows one ready
t capture-pane -p -t one | grep -x -B 4 ready
t capture-pane -p -S - -t one | grep -c '^[0-9]*$'
t send-keys -t one 'printf "\033[31mred\033[0m \033[1mbold\033[0m wide:\346\274\242\345\255\227\n"; echo "co"lours' Enter
shows one colours
t capture-pane -p -e -t one | grep -a '^[^$]*red' | od -c | head -n 6
for ((i = 1; i <= 12; i++)); do
    t new-window -d -t one -n "w$i" "sh -c 'seq $i $((i + 400)); echo end; exec cat'"
    t split-window -d -h -t "one:w$i" 'exec cat'
    t split-window -d -v -t "one:w$i" "yes 'filler text' | head -n 500; exec cat"
done
for ((i = 1; i <= 12; i++)); do
    shows "one:w$i.0" end
    t select-layout -t "one:w$i" tiled
    t resize-pane -t "one:w$i.0" -x $((20 + i))
done
t list-windows -t one -F '#{window_name} #{window_panes} #{window_layout}'
t list-panes -s -t one -F '#{pane_index} #{pane_width}x#{pane_height}' | sort | uniq -c | sort -n | tail -n 8
t display-message -p -t one '#{?session_many_attached,many,few} #{=3:session_name} #{e|*|:6,7} #{s/o/0/:session_name}'
head -c 3000000 /dev/zero | tr '\0' 'b' | t load-buffer -b big -
t show-buffer -b big | cksum
for ((i = 0; i < 60; i++)); do
    t set-buffer -b "b$i" "buffer $i"
    ((i % 3)) || t delete-buffer -b "b$i"
done
t list-buffers -F '#{buffer_name} #{buffer_size}' | sort | cksum
t paste-buffer -b b1 -t one:w1.1
t send-keys -t one:w1.1 Enter
shows one:w1.1 'buffer 1'
t copy-mode -t one
t send-keys -t one -X history-top
t send-keys -t one -X search-forward 2718
t display-message -p -t one '#{copy_cursor_line}'
t send-keys -t one -X begin-selection
t send-keys -t one -X cursor-down
t send-keys -t one -X copy-selection-and-cancel
t show-buffer
t set-hook -g window-renamed 'set-buffer -b hook "#{window_name}"'
t rename-window -t one:w3 renamed
wait_for t show-buffer -b hook
t show-buffer -b hook
t run-shell 'echo from run-shell; exit 3' || echo "status $?"
t if-shell true 'set-buffer -b cond yes' 'set-buffer -b cond no'
wait_for t show-buffer -b cond
t show-buffer -b cond
t bind-key -n F5 send-keys x
t list-keys | wc -l
t show-options -g | cksum
for ((i = 1; i <= 12; i += 2)); do
    t kill-window -t "one:$i"
done
t list-windows -t one -F '#{window_name}'
t new-session -d -s two -t one -x 60 -y 20
t list-sessions -F '#{session_name} #{session_windows} #{session_group}'
status t has-session -t absent
status t absent-command
kill -0 "$server"
t kill-server
gone() {
    ! kill -0 "$server"
}
wait_for gone
status t list-sessions
