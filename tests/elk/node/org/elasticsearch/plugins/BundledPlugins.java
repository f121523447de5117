package org.elasticsearch.plugins; // what it extends is not public

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.elasticsearch.Build;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.jdk.ModuleQualifiedExportsService;
import org.elasticsearch.transport.netty4.Netty4Plugin;

/** The transport comes from the class path: there is no folder of plugins to load it from. */
public class BundledPlugins extends PluginsService {
  public BundledPlugins(Settings settings, Environment environment) {
    super(settings, environment.configFile(), environment.modulesFile(), environment.pluginsFile());
  }

  /** Nothing to export: all is on one class path, without modules. */
  @Override
  protected void addServerExportsService(Map<String, List<ModuleQualifiedExportsService>> exports) {}

  @Override
  protected List<LoadedPlugin> plugins() {
    List<LoadedPlugin> loaded = new ArrayList<>(super.plugins());
    PluginDescriptor netty =
        new PluginDescriptor(
            "netty4", "bundled", "NA", Build.current().version(), "17",
            Netty4Plugin.class.getName(), null, List.of(), false, false, false, false);
    loaded.add(new LoadedPlugin(netty, new Netty4Plugin()));
    return loaded;
  }
}
