// A closed loop on ZooKeeper through its asynchronous client: an operation that ends is followed by
// the next at once, from its callback. A read is a sync followed by getData.
//
// Arguments: endpoints readShare outstanding sessions warmupSeconds durationSeconds valueSize [count]
//
// With a count, so many operations are done in all, and the window is from the first to the last.
// One operation at a time has a burst of many in front of its warm-up, as the client is a JVM too.
// Prints "measuring" and "done" on standard error around the window that counts, and one JSON object
// on standard output.
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

public class ZooKeeperLoad {
    static final int KEY_COUNT = 1000;
    static final int BURST = 256;
    static final long BURST_MILLISECONDS = 2000;
    static final String[] paths = new String[KEY_COUNT];
    static final AtomicLong failed = new AtomicLong();
    static final AtomicInteger live = new AtomicInteger();
    static final AtomicLong left = new AtomicLong(Long.MAX_VALUE);
    static volatile CountDownLatch drained = new CountDownLatch(1);
    static volatile boolean measuring, stopping;
    static double readShare;
    static byte[] value;

    /** One outstanding operation after another, and the latencies of those inside the window. */
    static class Loop implements AsyncCallback.StatCallback, AsyncCallback.DataCallback,
            AsyncCallback.VoidCallback {
        final ZooKeeper client;
        final Random random;
        long started;
        long[] latencies = new long[1 << 12];
        int count;

        Loop(ZooKeeper client, int seed) {
            this.client = client;
            this.random = new Random(seed);
        }

        void next() {
            if (stopping || left.decrementAndGet() < 0) {
                if (live.decrementAndGet() == 0) drained.countDown();
                return;
            }
            String path = paths[random.nextInt(KEY_COUNT)];
            boolean reading = random.nextDouble() < readShare;
            started = System.nanoTime();
            if (reading) {
                // Answered in order: the read sees what the sync waited for.
                client.sync(path, (AsyncCallback.VoidCallback) this, null);
                client.getData(path, false, (AsyncCallback.DataCallback) this, null);
            } else {
                client.setData(path, value, -1, (AsyncCallback.StatCallback) this, null);
            }
        }

        void ended(int status) {
            long latency = System.nanoTime() - started;
            if (measuring && status != 0) {
                failed.incrementAndGet();
            } else if (measuring) {
                if (count == latencies.length) latencies = Arrays.copyOf(latencies, count * 2);
                latencies[count++] = latency;
            }
            next();
        }

        @Override public void processResult(int status, String path, Object context) {}

        @Override public void processResult(int status, String path, Object context, Stat stat) {
            ended(status);
        }

        @Override public void processResult(
                int status, String path, Object context, byte[] data, Stat stat) {
            ended(status);
        }
    }

    public static void main(String[] arguments) throws Exception {
        String[] endpoints = arguments[0].split(",");
        readShare = Double.parseDouble(arguments[1]);
        int outstanding = Integer.parseInt(arguments[2]);
        int sessions = Math.min(outstanding, Integer.parseInt(arguments[3]));
        long warmup = (long) (Double.parseDouble(arguments[4]) * 1000);
        long duration = (long) (Double.parseDouble(arguments[5]) * 1000);
        value = filled(Integer.parseInt(arguments[6]));
        boolean counted = arguments.length > 7;
        if (counted) left.set(Long.parseLong(arguments[7]));
        ZooKeeper[] clients = new ZooKeeper[sessions];
        for (int i = 0; i < sessions; i++) clients[i] = dial(endpoints[i % endpoints.length]);
        createKeys(clients[0]);
        if (outstanding == 1 && !counted) burst(clients[0]);

        Loop[] loops = new Loop[outstanding];
        live.set(outstanding);
        measuring = counted;
        for (int i = 0; i < outstanding; i++) loops[i] = new Loop(clients[i % sessions], i);
        for (Loop loop : loops) loop.next();
        if (!counted) Thread.sleep(warmup);
        measuring = true;
        System.err.println("measuring");
        long started = System.nanoTime();
        double used = cpuSeconds();
        if (counted) drained.await();
        else Thread.sleep(duration);
        measuring = false;
        double seconds = (System.nanoTime() - started) / 1e9;
        used = cpuSeconds() - used;
        System.err.println("done");
        stopping = true;
        drained.await(20, TimeUnit.SECONDS);

        long[] all = Arrays.stream(loops)
            .flatMapToLong(loop -> Arrays.stream(loop.latencies, 0, loop.count)).sorted().toArray();
        System.out.printf(Locale.ROOT, "{\"n\":%d,\"errors\":%d,\"secs\":%f,\"cli_cpu_s\":%f,"
            + "\"p50_ms\":%f,\"p90_ms\":%f,\"p99_ms\":%f,\"p999_ms\":%f}%n",
            all.length, failed.get(), seconds, used,
            quantile(all, 0.5), quantile(all, 0.9), quantile(all, 0.99), quantile(all, 0.999));
        System.out.flush();
        Runtime.getRuntime().halt(0);  // closing sessions in order would only take time
    }

    /** Warms up a client that one operation at a time would leave uncompiled. */
    static void burst(ZooKeeper client) throws Exception {
        Loop[] loops = new Loop[BURST];
        live.set(BURST);
        for (int i = 0; i < BURST; i++) loops[i] = new Loop(client, -1 - i);
        for (Loop loop : loops) loop.next();
        Thread.sleep(BURST_MILLISECONDS);
        stopping = true;
        if (!drained.await(20, TimeUnit.SECONDS)) fail("the burst did not end");
        drained = new CountDownLatch(1);
        stopping = false;
    }

    static byte[] filled(int size) {
        byte[] bytes = new byte[size];
        Arrays.fill(bytes, (byte) 'v');
        return bytes;
    }

    static ZooKeeper dial(String endpoint) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper client = new ZooKeeper(endpoint, 30000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) connected.countDown();
        });
        if (!connected.await(20, TimeUnit.SECONDS)) fail("no connection to " + endpoint);
        return client;
    }

    /** Creates what is not there from an earlier run, empty; any answer will do. */
    static void createKeys(ZooKeeper client) throws Exception {
        CountDownLatch made = new CountDownLatch(KEY_COUNT);
        for (int i = 0; i < KEY_COUNT; i++) {
            paths[i] = String.format("/k%015d", i);
            client.create(paths[i], new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                (status, path, context, name) -> made.countDown(), null);
        }
        if (!made.await(30, TimeUnit.SECONDS)) fail("keys could not be created");
    }

    static void fail(String text) {
        System.err.println(text);
        Runtime.getRuntime().halt(1);
    }

    static double cpuSeconds() {
        return ((com.sun.management.OperatingSystemMXBean)
            ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
    }

    /** Milliseconds; -1 if there is nothing to take a quantile of. */
    static double quantile(long[] ordered, double share) {
        return ordered.length == 0 ? -1 : ordered[(int) (share * ordered.length)] / 1e6;
    }
}
