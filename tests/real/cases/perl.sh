# perl: hashes, sorts, regular expressions, ithreads, fork with pipes, big strings, an exception.
# set: core
# needs: perl
# witness: perl perl-child perl-thread
# limit: 60
# shellcheck shell=bash

cat >work.pl <<'PERL'
use strict;
use warnings;
use threads;
use Thread::Queue;
use Digest::SHA qw(sha256_hex);
use Data::Dumper;
use List::Util qw(sum shuffle reduce);
use Storable qw(freeze thaw dclone);
use Math::BigInt;
$| = 1;

my $n = shift;

sub maps {
    my ($name) = @_;
    open my $in, '<', '/proc/self/maps' or die;
    open my $out, '>', "tmp/maps-$name" or die;
    print {$out} <$in>;
}
maps('perl');

my ($x, %words, @list) = (42);
for my $i (1 .. $n) {
    $x = ($x * 1103515245 + 12345) % 2147483648;
    my $key = sprintf 'w%x', $x % 20011;
    push @{ $words{$key}{at} }, $i;
    $words{$key}{text} .= "$i,";
    push @list, "$key-$i";
}
print 'keys ', scalar(keys %words), "\n";
print sha256_hex(join ' ', map { "$_=$words{$_}{text}" } sort keys %words), "\n";
print sha256_hex(join ' ', sort { substr($a, 2) cmp substr($b, 2) or $a cmp $b } @list), "\n";
delete @words{ grep { @{ $words{$_}{at} } % 2 } keys %words };
print 'kept ', sum(map { scalar @{ $_->{at} } } values %words), "\n";

my $text = join "\n", map { "$_: name_$_\@host" . ($_ % 17) . ".example.org <$list[$_]>" } 0 .. 9999;
my %hosts;
$hosts{$2}++ while $text =~ /^(\d+): \w+@(host\d+)\.example/mg;
print join(' ', map { "$_=$hosts{$_}" } sort keys %hosts), "\n";
(my $swapped = $text) =~ s/<(\w+)-(\d+)>/"[$2:" . uc($1) . ']'/ge;
print length($swapped), ' ', sha256_hex($swapped), "\n";
my $balanced = qr/\((?:[^()]++|(?R))*\)/;
print "balanced\n" if "(" x 500 . ")" x 500 =~ $balanced;
my $utf = "\x{263a}\x{10348}z" x 5000;
print length($utf), ' ', length(scalar reverse $utf), "\n";

my $big = 'x' x 5_000_000;
substr($big, 1000 * $_, 3) = sprintf '%03d', $_ % 1000 for 1 .. 4000;
$big .= $big;
print length($big), ' ', ($big =~ tr/0-9//), "\n";
vec(my $bits, 3_000_000, 1) = 1;
print length($bits), "\n";

my $copy = thaw(freeze(dclone(\%words)));
local $Data::Dumper::Sortkeys = 1;
local $Data::Dumper::Indent = 1;
print sha256_hex(Dumper($copy)) eq sha256_hex(Dumper(\%words)) ? "same\n" : "not the same\n";
print Math::BigInt->new(3)->bpow(700)->bdiv(7)->bstr, "\n";
my $sorted = reduce { $a . $b } sort(map { chr(97 + $_ % 26) } 1 .. 2000);
print length($sorted), "\n";

# ithreads clone the whole interpreter: thousands of blocks made in one thread, freed in another.
my $queue = Thread::Queue->new;
my @threads = map {
    my $id = $_;
    threads->create(sub {
        maps('perl-thread') if $id == 0;
        my $sum = 0;
        while (defined(my $item = $queue->dequeue)) {
            my @parts = map { "$item-$_" } 1 .. 50;
            $sum += length join '', @parts;
        }
        return $sum;
    });
} 0 .. 3;
$queue->enqueue(map { "job $_" } 1 .. 400);
$queue->end;
print 'threads ', sum(map { $_->join } @threads), "\n";

my @pids;
for my $i (1 .. 6) {
    pipe my $read, my $write or die;
    my $pid = fork // die;
    if (!$pid) {
        maps('perl-child') if $i == 1;
        my %mine = map { $_ => "$i $_" } 1 .. 3000;
        print $write sha256_hex(join '', map { $mine{$_} } sort keys %mine), "\n";
        close $write;
        exit $i;
    }
    close $write;
    push @pids, [$pid, $read];
}
for (@pids) {
    my ($pid, $read) = @$_;
    print scalar <$read>;
    waitpid $pid, 0;
    print 'exit ', $? >> 8, "\n";
}
print `echo from a shell; exit 3`, $? >> 8, "\n";
eval { die { code => 7, text => 'an object' } };
print "caught $@->{code}\n";
die "the end, on purpose\n" if @ARGV;
PERL
perl work.pl "$(scale 60000 200000)"
for name in perl perl-child perl-thread; do
    mapped_text "$name" "tmp/maps-$name"
done
status perl -e 'my @a = (1) x 1000; die "on purpose\n"'
status perl -e 'print "no end'
perl -CS -Mutf8 -ne 'print lc' <<<'ÄÖÜ ÉÈ'
seq 20000 | perl -lane '$s{$F[0] % 7} += $F[0]; END { print "$_ $s{$_}" for sort keys %s }'
