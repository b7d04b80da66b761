// An open loop of writes on ZooKeeper through its asynchronous client: arrivals do not wait for
// answers.
//
// Arguments: endpoints rate sessions valueSize
//
// Every session is given all endpoints, and writes arrive at the sessions in turn. Prints the time of
// day, in seconds, at which each write completed, and goes on until it is killed.
import java.time.Instant;
import java.util.Locale;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

public class ZooKeeperArrivals {
    public static void main(String[] arguments) throws Exception {
        long interval = 1_000_000_000L / Integer.parseInt(arguments[1]);
        ZooKeeper[] clients = new ZooKeeper[Integer.parseInt(arguments[2])];
        byte[] value = ZooKeeperLoad.filled(Integer.parseInt(arguments[3]));
        ZooKeeperLoad.value = value;
        for (int i = 0; i < clients.length; i++) clients[i] = ZooKeeperLoad.dial(arguments[0]);
        ZooKeeperLoad.createKeys(clients[0]);

        AsyncCallback.StatCallback ended = ZooKeeperArrivals::tell;
        long due = System.nanoTime();
        for (int i = 0; ; i++) {
            String path = ZooKeeperLoad.paths[i % ZooKeeperLoad.KEY_COUNT];
            clients[i % clients.length].setData(path, value, -1, ended, null);
            due += interval;
            long pause = due - System.nanoTime();
            if (pause > 0) Thread.sleep(pause / 1_000_000, (int) (pause % 1_000_000));
        }
    }

    static void tell(int status, String path, Object context, Stat stat) {
        if (status != 0) return;
        Instant now = Instant.now();
        double seconds = now.getEpochSecond() + now.getNano() / 1e9;
        System.out.printf(Locale.ROOT, "%.6f%n", seconds);
    }
}
