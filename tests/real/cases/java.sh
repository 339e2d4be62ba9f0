# java: javac itself, threads, collections, a small heap with several collectors, direct and mapped
# buffers, zip, class loading, an OutOfMemoryError that is caught, an exit from a hook.
# set: full
# needs: java javac
# witness: javac java
# limit: 180
# shellcheck shell=bash

cat >Work.java <<'JAVA'
import java.io.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.regex.*;
import java.util.stream.*;
import java.util.zip.*;

public class Work {
    sealed interface Shape permits Square, Disc {}
    record Square(double a) implements Shape {}
    record Disc(double r, String name) implements Shape {}

    static String hash(byte[] data) throws Exception {
        byte[] d = MessageDigest.getInstance("SHA-256").digest(data);
        return HexFormat.of().formatHex(d, 0, 8);
    }

    static byte[] pack(byte[] data, int level) throws Exception {
        Deflater d = new Deflater(level);
        d.setInput(data);
        d.finish();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] buffer = new byte[777];
        while (!d.finished())
            out.write(buffer, 0, d.deflate(buffer));
        if (data.length % 2 == 0)
            d.end();
        return out.toByteArray();
    }

    static double area(Shape s) {
        if (s instanceof Square q)
            return q.a() * q.a();
        return s instanceof Disc d ? 3 * d.r() * d.r() + d.name().length() : 0;
    }

    public static void main(String[] args) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        int n = Integer.parseInt(args[0]);
        Map<String, List<Integer>> words = new TreeMap<>();
        for (int i = 0; i < n; i++)
            words.computeIfAbsent("word" + i * 7919L % 10007, k -> new ArrayList<>()).add(i);
        System.out.println("words " + words.size() + " " + hash(words.toString().getBytes()));

        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<String>> jobs = new ArrayList<>();
        for (int t = 0; t < 40; t++) {
            final int id = t;
            jobs.add(pool.submit(() -> {
                StringBuilder b = new StringBuilder();
                for (int i = 0; i < 4000; i++)
                    b.append("line ").append(i * id).append(';');
                byte[] raw = b.toString().getBytes(StandardCharsets.UTF_8), packed = pack(raw, id % 9 + 1);
                Inflater in = new Inflater();
                in.setInput(packed);
                byte[] back = new byte[raw.length];
                int got = in.inflate(back);
                in.end();
                return got + ":" + packed.length + ":" + Arrays.equals(raw, back);
            }));
        }
        for (Future<String> f : jobs)
            System.out.print(f.get() + " ");
        System.out.println();
        pool.shutdown();

        AtomicLong total = new AtomicLong();
        for (int round = 0; round < 10; round++) {
            List<Thread> threads = new ArrayList<>();
            for (int t = 0; t < 50; t++) {
                int id = t;
                Thread thread = new Thread(() -> {
                    ByteBuffer direct = ByteBuffer.allocateDirect(10000 + id * 997);
                    for (int i = 0; i + 8 <= direct.capacity(); i += 8)
                        direct.putLong(i, i * 31L + id);
                    long sum = 0;
                    for (int i = 0; i + 8 <= direct.capacity(); i += 8)
                        sum += direct.getLong(i);
                    total.addAndGet(sum);
                });
                threads.add(thread);
                thread.start();
            }
            for (Thread thread : threads)
                thread.join();
            System.gc();
        }
        System.out.println("direct " + total);
        System.out.println("stream " + IntStream.range(0, 200000).parallel().mapToObj(i -> i % 3 == 0 ? new Square(i) : new Disc(i, "d" + i))
            .mapToDouble(Work::area).mapToLong(d -> (long) d).sum());
        Matcher m = Pattern.compile("(\\w+?)(\\d+)=\\[(\\d+)").matcher(words.toString());
        int matches = 0;
        while (m.find())
            matches += m.group(2).length();
        System.out.println("regex " + matches + " " + String.format("%,.3f %08x %s", Math.PI * 1e6, 48879, "text".repeat(3)));

        Path zip = Path.of("tmp/a.zip");
        try (ZipOutputStream out = new ZipOutputStream(Files.newOutputStream(zip))) {
            for (int i = 0; i < 200; i++) {
                ZipEntry e = new ZipEntry("dir" + i % 7 + "/file" + i);
                e.setTime(0);
                out.putNextEntry(e);
                out.write(("content " + i).repeat(i).getBytes());
            }
        }
        try (ZipFile in = new ZipFile(zip.toFile())) {
            System.out.println("zip " + in.stream().mapToLong(ZipEntry::getCrc).sum());
        }
        try (FileChannel c = FileChannel.open(Path.of("tmp/mapped"), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer b = c.map(FileChannel.MapMode.READ_WRITE, 0, 5 << 20);
            for (int i = 0; i < b.capacity(); i += 64)
                b.put(i, (byte) (i >> 6));
            b.force();
        }
        System.out.println("mapped " + hash(Files.readAllBytes(Path.of("tmp/mapped"))));
        Process p = new ProcessBuilder("sort", "-r").start();
        try (Writer w = p.outputWriter()) {
            w.write("a\nc\nb\n");
        }
        System.out.println("process " + new String(p.getInputStream().readAllBytes()).replace('\n', ' ') + p.waitFor());
        try {
            List<long[]> held = new ArrayList<>();
            while (true)
                held.add(new long[1 << 20]);
        } catch (OutOfMemoryError e) {
            System.out.println(e.getClass().getSimpleName());
        }
        try {
            deep(1);
        } catch (StackOverflowError e) {
            System.out.println("StackOverflowError");
        }
        Files.copy(Path.of("/proc/self/maps"), Path.of(args[1]), StandardCopyOption.REPLACE_EXISTING);
        if (args.length > 2)
            throw new IllegalStateException("on purpose");
        System.exit(11);
    }

    static int deep(int n) {
        return n + deep(n + 1);
    }
}
JAVA
canary javac -- javac -J-Xmx256m -Xlint:all -d classes Work.java
(cd classes && sha256sum -- *.class)
for flags in '-XX:+UseSerialGC' '-XX:+UseG1GC -XX:+AlwaysPreTouch' '-XX:+UseParallelGC -Xint' '-XX:+UseZGC'; do
    # shellcheck disable=SC2086 # several flags
    status java -Xmx256m -Xss512k $flags -cp classes Work 60000 tmp/maps-java
done
mapped_text java tmp/maps-java
status java -Xmx256m -cp classes Work 100 tmp/maps-java fails 2>&1 | tail -n 5
status java -Xmx64m -XX:NativeMemoryTracking=summary -XX:+UnlockDiagnosticVMOptions -XX:+PrintNMTStatistics -version 2>&1 |
    grep -oE '^(Native Memory Tracking|status.*)'
cat >Wrong.java <<'JAVA'
class Wrong { int f() { return "text"; } String g(Unknown u) { return u; } }
JAVA
status javac -J-Xmx128m Wrong.java
status java -Xmx128m -cp classes Absent
