package org.elasticsearch.node; // what it uses is not public

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.BundledPlugins;
import org.elasticsearch.plugins.PluginsService;

/** One real Elasticsearch node of Maven's jars: TestNode HOME HTTP_PORT TRANSPORT_PORT. */
public class TestNode {
  public static void main(String[] words) throws Exception {
    Path home = Path.of(words[0]);
    for (String folder : "config modules plugins lib logs data".split(" ")) {
      Files.createDirectories(home.resolve(folder));
    }
    LogConfigurator.registerErrorListener();
    LogConfigurator.configureESLogging();
    Settings settings =
        Settings.builder()
            .put("path.home", words[0])
            .put("cluster.name", "test")
            .put("node.name", "one")
            .put("network.host", "127.0.0.1")
            .put("http.port", words[1])
            .put("transport.port", words[2])
            .put("discovery.type", "single-node")
            .put("node.store.allow_mmap", false)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("transport.type", "netty4")
            .put("http.type", "netty4")
            .build();
    NodeServiceProvider services =
        new NodeServiceProvider() {
          @Override
          PluginsService newPluginService(Environment environment, Settings given) {
            return new BundledPlugins(given, environment);
          }
        };
    Environment environment = new Environment(settings, home.resolve("config"));
    Node node = new Node(NodeConstruction.prepareConstruction(environment, services, true));
    Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
    node.start();
    Thread.currentThread().join();
  }

  private static void close(Node node) {
    try {
      node.close();
    } catch (IOException error) {
      error.printStackTrace();
    }
  }
}
