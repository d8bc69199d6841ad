import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyKeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Count and sum per key with Kafka Streams and exactly_once_v2: for each {"key", "amount"} one {"key", "count", "sum"}.
 *
 * <p>The Processor API with a cached RocksDB store: faster than the DSL, which gives an output for every input only without a cache.
 *
 * <p>CountSum BOOTSTRAP APPLICATION STATE_DIR INPUT OUTPUT THREADS [KEYS PAD]: with KEYS it asks its own store for one of them every 20 ms.
 * Prints one JSON object a line; ends on SIGTERM.
 */
public final class CountSum {
    private static final String STORE = "sums";
    private static final ObjectMapper JSON = new ObjectMapper();

    static final class Count implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> sums;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            this.sums = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, byte[]> record) {
            long amount;
            String key;
            try {
                JsonNode input = JSON.readTree(record.value());
                key = input.get("key").textValue();
                amount = input.get("amount").longValue();
            } catch (java.io.IOException malformed) {
                throw new IllegalArgumentException(malformed);
            }
            byte[] known = sums.get(key);
            ByteBuffer before = known == null ? ByteBuffer.allocate(16) : ByteBuffer.wrap(known);
            long count = before.getLong(0) + 1;
            long sum = before.getLong(8) + amount;
            sums.put(key, ByteBuffer.allocate(16).putLong(0, count).putLong(8, sum).array());
            String output = "{\"key\":\"" + key + "\",\"count\":" + count + ",\"sum\":" + sum + "}";
            context.forward(record.withKey(key).withValue(output.getBytes(StandardCharsets.UTF_8)));
        }
    }

    private static synchronized void say(String event, String more) {
        System.out.println("{\"event\":\"" + event + "\",\"at_ms\":" + System.currentTimeMillis() + more + "}");
        System.out.flush();
    }

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[5]);
        settings.put("auto.offset.reset", "earliest");
        // What the command line gives as -Dstreams.NAME=VALUE, for trying other settings.
        System.getProperties().forEach((name, value) -> {
            if (name.toString().startsWith("streams.")) settings.put(name.toString().substring(8), value);
        });

        Topology topology = new Topology();
        topology.addSource("in", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), arguments[3]);
        topology.addProcessor("count", Count::new, "in");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), Serdes.ByteArray()).withCachingEnabled(), "count");
        topology.addSink("out", arguments[4], Serdes.String().serializer(), Serdes.ByteArray().serializer(), "count");

        KafkaStreams streams = new KafkaStreams(topology, settings);
        AtomicLong restored = new AtomicLong();
        streams.setGlobalStateRestoreListener(new StateRestoreListener() {
            @Override
            public void onRestoreStart(TopicPartition partition, String store, long from, long to) {
                say("restore_start", ",\"records\":" + (to - from));
            }

            @Override
            public void onBatchRestored(TopicPartition partition, String store, long to, long count) {}

            @Override
            public void onRestoreEnd(TopicPartition partition, String store, long count) {
                say("restore_end", ",\"records\":" + count + ",\"total\":" + restored.addAndGet(count));
            }
        });
        streams.setStateListener((now, before) -> say("state", ",\"state\":\"" + now + "\",\"restored\":" + restored.get()));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(java.time.Duration.ofSeconds(20))));
        say("started", "");
        streams.start();
        if (arguments.length > 6) query(streams, Integer.parseInt(arguments[6]), Integer.parseInt(arguments[7]));
    }

    /** Asks for one key every 20 ms and says how often there was an answer, at every change from refused to answered and back. */
    private static void query(KafkaStreams streams, int keys, int pad) throws InterruptedException {
        long answered = 0;
        long refused = 0;
        boolean served = false;
        for (long turn = 0; ; turn++) {
            String key = String.format("customer/%0" + pad + "d", (turn * 7919) % keys);
            boolean now;
            try {
                ReadOnlyKeyValueStore<String, byte[]> store =
                        streams.store(StoreQueryParameters.fromNameAndType(STORE, QueryableStoreTypes.<String, byte[]>keyValueStore()));
                now = store.get(key) != null;
            } catch (org.apache.kafka.streams.errors.InvalidStateStoreException absent) {
                now = false;
            }
            if (now) answered++; else refused++;
            if (now != served) say(now ? "answers" : "refuses", ",\"answered\":" + answered + ",\"refused\":" + refused);
            served = now;
            Thread.sleep(20);
        }
    }
}
