# git: commits, packs, branches and merges, clone over the local transport, gc, fsck, a failing merge.
# set: core
# needs: git
# witness: git alias git-upload-pack
# limit: 90
# shellcheck shell=bash disable=SC2103,SC2164

export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$PWD/gitconfig GIT_TERMINAL_PROMPT=0 GIT_PAGER=cat
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org GIT_COMMITTER_DATE='1700000000 +0000'
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global maintenance.auto false
git config --global pack.threads 3
git config --global advice.mergeConflict false

# The alias's shell is git's child, and git waits for it.
# shellcheck disable=SC2016 # the shell of the alias expands it
git -c alias.see='!cat /proc/$PPID/maps' see >tmp/maps
mapped_text alias tmp/maps

git init -q repo
cd repo
mkdir -p ../repo/tmp
echo tmp >.git/info/exclude
files=$(scale 120 300)
for ((c = 0; c < 12; c++)); do
    for ((i = 0; i < files; i++)); do
        (((i + c) % 3)) || {
            mkdir -p "dir$((i % 9))"
            for ((k = 0; k < 60; k++)); do
                echo "line $k of file $i, $((k * i % 17)) in commit $((k % (c + 1)))"
            done >"dir$((i % 9))/file$i"
        }
    done
    git add -A
    git commit -q -m "commit $c" -m "with a body of some length"
    ((c % 4)) || git tag -a "v$c" -m "tag $c"
done
git log --oneline --decorate --shortstat -3
git log -p --reverse --find-renames | sha256sum
git rev-list --objects --all | sort | sha256sum
git repack -a -d -q -f --depth=30 --window=20 --threads=3
git verify-pack -v .git/objects/pack/*.idx | awk '/chain length/ { n++ } END { print "chains", (n > 0) }'
git count-objects -v | grep -E '^(count|packs|in-pack|garbage)'
canary git -- git status --short

git checkout -q -b topic HEAD~1
git mv dir1 moved
sed -i 's/^line 7 /line seven /' dir2/*
git commit -q -a -m topic
git checkout -q main
git merge -q --no-edit topic | tail -n 3
git diff --stat HEAD~1 | tail -n 2
git blame -s dir2/file2 | sha256sum
git grep -c 'line seven' | sha256sum
git branch side HEAD~1
for side in main side; do
    git checkout -q $side
    echo "from $side" >dir3/file3
    git commit -q -a -m "$side changes file3"
done
status git merge -q main
git status --short
git merge --abort
git rebase -q -X theirs main
git log --graph --oneline -6
git stash list
printf 'x\n' >>dir4/file4
git stash -q
git stash pop -q
git diff | cat
git commit -q -a -m popped
git archive --format=tar HEAD | sha256sum
git format-patch -q -o tmp HEAD~3
cat tmp/*.patch | grep -v '^2\.' | sha256sum
git bundle create -q tmp/all.bundle --all
git gc -q --prune=now
git fsck --full --strict
cd ..
git clone -q --no-local "file://$PWD/repo" clone 2>&1
git clone -q --bare repo/tmp/all.bundle bare.git
git -C clone log --format=%H%n%B | sha256sum
diff -r --exclude=.git --exclude=tmp repo clone
git -C clone fetch -q ../bare.git 'refs/heads/*:refs/remotes/bare/*'
canary git git-upload-pack -- git -C clone ls-remote -q "file://$PWD/repo" HEAD
git -C clone for-each-ref --format='%(refname) %(objectname:short)'
git -C clone push -q origin HEAD:refs/heads/pushed
git -C repo rev-parse --short pushed
git -C repo worktree add -q ../tree pushed
git -C tree submodule status
git -C clone bisect start HEAD HEAD~5 --
git -C clone bisect run sh -c 'test ! -d moved' 2>&1 | grep -E 'first bad|^commit|Bisecting'
git -C clone bisect reset 2>&1
status git -C clone checkout absent-branch
status git -C absent status
git init -q --bare again.git
git -C repo fast-export --all --signed-tags=strip | git -C again.git fast-import --quiet
git -C again.git rev-parse main | sha256sum
